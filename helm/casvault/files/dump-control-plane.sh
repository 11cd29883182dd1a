#!/bin/sh
# Dumps the control plane's database into a folder, and removes the oldest dumps there once the new one is whole. A dump that fails
# leaves the earlier ones as they were.
#
# DATABASE_URL_FILE  file with postgres://user:password@host:port/database, of a user that may read all schemas
# DUMP_FOLDER        where dumps go
# DUMP_NAME          what their names begin with: <name>-20260131T235959Z.dump (UTC); files of other names are never touched
# DUMPS_KEPT         number of dumps that stay
set -eu
umask 077
LC_ALL=C
export LC_ALL

fail() {
  echo "dump-control-plane: $*" >&2
  exit 1
}

# Prints $1 without its percent-encoding. What is wrong in it is not told: it is a password.
decoded() {
  rest=$1
  while [ "$rest" != "${rest#*%}" ]; do
    printf '%s' "${rest%%"%"*}"
    rest=${rest#*%}
    code=${rest%"${rest#??}"}
    case $code in
      [2-9A-Fa-f][0-9A-Fa-f]) ;;
      *) fail 'the password of the URL is not percent-encoded' ;;
    esac
    printf "\\$(printf '%03o' "0x$code")"
    rest=${rest#??}
  done
  printf '%s' "$rest"
}

# Sets `url` without its password, which goes to the environment: arguments of a process show to everybody on its machine.
read_url() {
  given=$(cat "$DATABASE_URL_FILE")
  case $given in
    postgres://* | postgresql://*) ;;
    *) fail 'the URL does not begin with postgres://' ;;
  esac
  authority=${given#*://}
  authority=${authority%%[/?]*}
  place=${given#*://"$authority"}
  case $place in
    # Else a part of the password would be taken for a host or a port, and be told with the error.
    *@*) fail 'a special character of the URL is not percent-encoded' ;;
    *[?\&]*password=*) fail 'the URL has a password among its parameters: put it before the host' ;;
  esac
  url=$given
  case $authority in
    *:*@*)
      user=${authority%@*}
      PGPASSWORD=$(decoded "${user#*:}")
      export PGPASSWORD
      url=${given%%://*}://${user%%:*}@${authority##*@}$place
      ;;
  esac
}

# Runs a command that a signal ends at once: a shell heeds signals only when what it waits for in the foreground is over.
run() {
  "$@" &
  child=$!
  code=0
  wait "$child" || code=$?
  child=
  return "$code"
}

child=
part=
clean_up() {
  if [ -n "$child" ]; then
    kill "$child" && wait "$child" || :
  fi
  [ -z "$part" ] || rm -f "$part"
}
trap clean_up EXIT
trap 'echo "dump-control-plane: stopped by a signal" >&2; exit 1' HUP INT TERM

# Removes the oldest dumps beyond DUMPS_KEPT, but never the one that was just made, whatever the clock says. Also what is left of dumps
# that were killed more than a day ago: no dump takes as long.
prune() {
  count=0
  for dump in "$DUMP_FOLDER/$DUMP_NAME"-$time_pattern.dump; do
    [ ! -f "$dump" ] || [ -L "$dump" ] || count=$((count + 1))
  done
  for dump in "$DUMP_FOLDER/$DUMP_NAME"-$time_pattern.dump; do
    [ "$count" -gt "$DUMPS_KEPT" ] || break
    if [ -f "$dump" ] && [ ! -L "$dump" ] && [ "$dump" != "$whole" ]; then
      rm -f "$dump"
      count=$((count - 1))
    fi
  done
  for left in "$DUMP_FOLDER/$DUMP_NAME"-$time_pattern.dump.part; do
    [ ! -f "$left" ] || [ -L "$left" ] || find "$left" -mtime +0 -exec rm -f {} \;
  done
}

digits='[0-9][0-9][0-9][0-9][0-9][0-9]'
time_pattern="[0-9][0-9]${digits}T${digits}Z"
case $DUMPS_KEPT in
  '' | 0* | *[!0-9]*) fail 'DUMPS_KEPT: is not a number from 1 on' ;;
esac
read_url
whole=$DUMP_FOLDER/$DUMP_NAME-$(date -u +%Y%m%dT%H%M%SZ).dump
[ ! -e "$whole" ] || fail "$whole is there already"
# Exclusively: a file that is there is another's.
(set -C && : >"$whole.part") || fail "$whole.part can not be made"
part=$whole.part

run pg_dump --format=custom --no-password --lock-wait-timeout=60s --file="$part" --dbname="$url"
# Reads all of it, not its table of contents alone: what is cut short or damaged is refused.
run pg_restore --file=/dev/null "$part"
sync "$part"
mv "$part" "$whole"
part=
sync "$DUMP_FOLDER"
echo "dump-control-plane: $whole has $(($(wc -c <"$whole"))) bytes"
prune
