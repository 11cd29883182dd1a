/*
 * The workload of the lab's guests: real writes on real disks, numbered across two of them.
 *
 *   workload <control tty> <disk A> [<disk B>]
 *
 * It writes number n to a slot of disk A and flushes it, then n to disk B and flushes it, then n + 1 to A, and so on.
 * So at every instant the last number on A is that on B, or one more: a copy of the two disks for which this does not
 * hold was not taken at one instant. Each slot is filled from its number and ends in a checksum: a torn one is known.
 * Between the pairs it writes random bulk data (other data every time) and discards, at a bounded rate.
 *
 * What it does is written on disk A (the header): a copy of the disks that is booted goes on where they stood.
 * Commands on the control tty: "start <pairs/s> <bulk KiB/s>", "stop". Each second it answers with one line of JSON.
 * The power button (an input event) flushes the disks and turns the machine off.
 *
 * Layout of each disk, little endian, known to `libs/testkit/src/witness.ts` too:
 *   1 MiB          header, 4 KiB
 *   2 MiB          ring of SLOTS slots of 4 KiB; number n is in slot n % SLOTS
 *   bulk_at        bulk area
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

long sys(long number, long a, long b, long c, long d, long e);

enum {
  SYS_READ = 0, SYS_WRITE = 1, SYS_OPEN = 2, SYS_IOCTL = 16, SYS_PREAD = 17, SYS_PWRITE = 18, SYS_NANOSLEEP = 35,
  SYS_FDATASYNC = 75, SYS_SYNC = 162, SYS_REBOOT = 169, SYS_CLOCK_GETTIME = 228,
};
enum { O_RDWR = 2, O_NONBLOCK = 04000, O_DIRECT = 040000, O_NOCTTY = 0400 };
#define BLKGETSIZE64 0x80081272
#define BLKDISCARD 0x1277
#define KIB 1024ul
#define MIB (1024ul * KIB)
#define HEADER_AT (1 * MIB)
#define RING_AT (2 * MIB)
#define SLOTS 256ul
#define SLOT 4096ul
#define BULK_UNIT (64 * KIB)
#define HEADER_MAGIC 0x3142414C56534143ul /* "CASVLAB1" */
#define SLOT_MAGIC 0x31544F4C53564143ul   /* "CAVSLOT1" */
#define KEY_POWER 116
#define EVENTS 8
/* Between two looks for commands and for the power button. */
#define POLL_US 20000

struct header {
  u64 magic, disk, slots, slot_bytes, ring_at, bulk_at, bulk_bytes, pairs_per_second, bulk_kib_per_second, running;
  u8 rest[SLOT - 11 * 8];
  u64 checksum;
};
struct slot {
  u64 magic, number, disk;
  u64 fill[SLOT / 8 - 4];
  u64 checksum;
};

static u8 area[BULK_UNIT + SLOT]; /* aligned by hand for O_DIRECT */
static u8 *page, *bulk;
static int disk_fd[2], disks, control, event_fd[EVENTS];
static u64 bulk_at[2], bulk_bytes[2], number, pairs, bulk_written, discards, errors;
static u64 pairs_per_second, bulk_kib_per_second, running, seed;

/* Multiplication and the high half of each word are mixed back: one pass, the same in JavaScript's BigInt. */
static u64 checksum(const u64 *words, u64 count) {
  u64 h = 0xcbf29ce484222325ul, i;
  for (i = 0; i < count; i++) {
    h = (h ^ words[i]) * 0x100000001b3ul;
    h ^= h >> 32;
  }
  return h;
}

static u64 next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static u64 now_us(void) {
  long t[2];
  sys(SYS_CLOCK_GETTIME, 1, (long)t, 0, 0, 0);
  return (u64)t[0] * 1000000 + (u64)t[1] / 1000;
}

static void sleep_us(u64 us) {
  long t[2];
  t[0] = us / 1000000;
  t[1] = us % 1000000 * 1000;
  sys(SYS_NANOSLEEP, (long)t, 0, 0, 0, 0);
}

static void clear(u8 *at, u64 bytes) {
  u64 i;
  for (i = 0; i < bytes; i++) at[i] = 0;
}

static void put(int disk, const void *from, u64 bytes, u64 at) {
  if (sys(SYS_PWRITE, disk_fd[disk], (long)from, bytes, at, 0) != (long)bytes) errors++;
}

static void flush(int disk) {
  if (sys(SYS_FDATASYNC, disk_fd[disk], 0, 0, 0, 0) < 0) errors++;
}

static void write_header(int disk) {
  struct header *h = (struct header *)page;
  clear(page, SLOT);
  h->magic = HEADER_MAGIC;
  h->disk = disk;
  h->slots = SLOTS;
  h->slot_bytes = SLOT;
  h->ring_at = RING_AT;
  h->bulk_at = bulk_at[disk];
  h->bulk_bytes = bulk_bytes[disk];
  h->pairs_per_second = pairs_per_second;
  h->bulk_kib_per_second = bulk_kib_per_second;
  h->running = running;
  h->checksum = checksum((u64 *)page, SLOT / 8 - 1);
  put(disk, page, SLOT, HEADER_AT);
  flush(disk);
}

/* Takes up what the header of disk A says; 0 when there is none. */
static int read_header(void) {
  struct header *h = (struct header *)page;
  if (sys(SYS_PREAD, disk_fd[0], (long)page, SLOT, HEADER_AT, 0) != (long)SLOT) return 0;
  if (h->magic != HEADER_MAGIC || h->checksum != checksum((u64 *)page, SLOT / 8 - 1)) return 0;
  pairs_per_second = h->pairs_per_second;
  bulk_kib_per_second = h->bulk_kib_per_second;
  running = h->running;
  return 1;
}

static u64 last_number(int disk) {
  struct slot *s = (struct slot *)page;
  u64 last = 0, i;
  for (i = 0; i < SLOTS; i++) {
    if (sys(SYS_PREAD, disk_fd[disk], (long)page, SLOT, RING_AT + i * SLOT, 0) != (long)SLOT) continue;
    if (s->magic != SLOT_MAGIC || s->checksum != checksum((u64 *)page, SLOT / 8 - 1)) continue;
    if (s->number > last) last = s->number;
  }
  return last;
}

static void format_rings(void) {
  int d;
  u64 at;
  clear(bulk, BULK_UNIT);
  for (d = 0; d < disks; d++) {
    for (at = 0; at < SLOTS * SLOT; at += BULK_UNIT) put(d, bulk, BULK_UNIT, RING_AT + at);
    flush(d);
  }
  number = 0;
}

static void write_number(int disk) {
  struct slot *s = (struct slot *)page;
  u64 i;
  s->magic = SLOT_MAGIC;
  s->number = number;
  s->disk = disk;
  for (i = 0; i < SLOT / 8 - 4; i++) s->fill[i] = number * 0x9E3779B97F4A7C15ul + i * (disk + 1);
  s->checksum = checksum((u64 *)page, SLOT / 8 - 1);
  put(disk, page, SLOT, RING_AT + number % SLOTS * SLOT);
  flush(disk);
}

static void write_pair(void) {
  int d;
  number++;
  for (d = 0; d < disks; d++) write_number(d);
  pairs++;
}

/* One unit of fresh random data at a random place; after every sixteenth a discard of four units elsewhere. */
static void write_bulk(void) {
  int d = disks > 1 ? next_random() & 1 : 0;
  u64 units = bulk_bytes[d] / BULK_UNIT, i, range[2];
  if (units < 8) return;
  for (i = 0; i < BULK_UNIT / 8; i++) ((u64 *)bulk)[i] = next_random();
  put(d, bulk, BULK_UNIT, bulk_at[d] + next_random() % units * BULK_UNIT);
  bulk_written += BULK_UNIT;
  if (bulk_written / BULK_UNIT % 16) return;
  range[0] = bulk_at[d] + next_random() % (units / 4) * 4 * BULK_UNIT;
  range[1] = 4 * BULK_UNIT;
  if (sys(SYS_IOCTL, disk_fd[d], BLKDISCARD, (long)range, 0, 0) == 0) discards++;
}

static char *text(char *at, const char *s) {
  while (*s) *at++ = *s++;
  return at;
}

static char *decimal(char *at, const char *name, u64 value) {
  char digits[24];
  int n = 0;
  at = text(at, name);
  do digits[n++] = '0' + value % 10; while (value /= 10);
  while (n) *at++ = digits[--n];
  return at;
}

static void report(void) {
  char line[400], *at = line;
  at = decimal(at, "{\"number\":", number);
  at = decimal(at, ",\"pairs\":", pairs);
  at = decimal(at, ",\"bulkBytes\":", bulk_written);
  at = decimal(at, ",\"discards\":", discards);
  at = decimal(at, ",\"errors\":", errors);
  at = decimal(at, ",\"disks\":", disks);
  at = decimal(at, ",\"running\":", running);
  at = text(at, "}\n");
  sys(SYS_WRITE, control, (long)line, at - line, 0, 0);
}

static u64 take_number(const char **at) {
  u64 value = 0;
  while (**at == ' ') (*at)++;
  while (**at >= '0' && **at <= '9') value = value * 10 + (u64)(*(*at)++ - '0');
  return value;
}

static void command(const char *line) {
  int d;
  if (disks == 0) return;
  if (line[0] == 's' && line[1] == 't' && line[2] == 'a') {
    int known = read_header();
    line += 5;
    pairs_per_second = take_number(&line);
    bulk_kib_per_second = take_number(&line);
    if (!known) format_rings();
    running = 1;
  } else if (line[0] == 's' && line[1] == 't' && line[2] == 'o') {
    running = 0;
  } else {
    return;
  }
  for (d = 0; d < disks; d++) write_header(d);
}

static void read_commands(void) {
  static char line[80];
  static u32 used;
  char c;
  while (sys(SYS_READ, control, (long)&c, 1, 0, 0) == 1) {
    if (c == '\n' || c == '\r') {
      line[used] = 0;
      if (used) command(line);
      used = 0;
    } else if (used < sizeof(line) - 1) {
      line[used++] = c;
    }
  }
}

static void watch_power_button(void) {
  struct { u64 seconds, microseconds; unsigned short type, code; int value; } event;
  int i;
  for (i = 0; i < EVENTS; i++) {
    if (event_fd[i] < 0) continue;
    while (sys(SYS_READ, event_fd[i], (long)&event, sizeof event, 0, 0) == sizeof event) {
      if (event.type != 1 || event.code != KEY_POWER || event.value != 1) continue;
      sys(SYS_SYNC, 0, 0, 0, 0, 0);
      sys(SYS_REBOOT, 0xfee1dead, 672274793, 0x4321fedc, 0, 0);
    }
  }
}

static void open_power_button(void) {
  char path[] = "/dev/input/event0";
  int i;
  for (i = 0; i < EVENTS; i++) {
    path[16] = '0' + i;
    event_fd[i] = sys(SYS_OPEN, (long)path, O_NONBLOCK, 0, 0, 0);
  }
}

static void open_disk(const char *path) {
  u64 bytes = 0, half;
  int fd = sys(SYS_OPEN, (long)path, O_RDWR | O_DIRECT, 0, 0, 0);
  if (fd < 0 || sys(SYS_IOCTL, fd, BLKGETSIZE64, (long)&bytes, 0, 0) < 0) return;
  if (bytes < 16 * MIB) return;
  disk_fd[disks] = fd;
  half = bytes / 2 / MIB * MIB;
  bulk_at[disks] = half;
  bulk_bytes[disks] = (bytes - half) / MIB * MIB;
  if (bulk_bytes[disks] > 256 * MIB) bulk_bytes[disks] = 256 * MIB;
  disks++;
}

/* Microseconds until the next write is due, at most POLL_US: an emulated guest pays dearly for waking up. */
static u64 until_due(u64 elapsed, u64 pairs_due, u64 bulk_due) {
  u64 due = elapsed + POLL_US, at;
  if (pairs_per_second) {
    at = pairs_due * 1000000 / pairs_per_second + 1;
    if (at < due) due = at;
  }
  if (bulk_kib_per_second) {
    at = bulk_due * BULK_UNIT * 1000000 / (bulk_kib_per_second * KIB) + 1;
    if (at < due) due = at;
  }
  return due > elapsed ? due - elapsed : 1;
}

/* Both rates are kept against the clock since `began`, so that a slow second is made up for, within one second. */
static void work(void) {
  u64 began = now_us(), reported = began, pairs_due = 0, bulk_due = 0, now;
  for (;;) {
    read_commands();
    watch_power_button();
    now = now_us();
    if (now - reported >= 1000000) {
      report();
      reported = now;
      began = now;
      pairs_due = bulk_due = 0;
    }
    if (!running) {
      sleep_us(POLL_US);
      continue;
    }
    if (pairs_due * 1000000 <= (now - began) * pairs_per_second) {
      write_pair();
      pairs_due++;
    } else if (bulk_due * BULK_UNIT * 1000000 <= (now - began) * bulk_kib_per_second * KIB && bulk_kib_per_second) {
      write_bulk();
      bulk_due++;
    } else {
      sleep_us(until_due(now - began, pairs_due, bulk_due));
    }
  }
}

int guest_main(long *stack) {
  long count = stack[0], i;
  char **arguments = (char **)(stack + 1);
  page = (u8 *)(((u64)area + SLOT - 1) & ~(SLOT - 1));
  bulk = page;
  if (count < 2) return 2;
  control = sys(SYS_OPEN, (long)arguments[1], O_RDWR | O_NONBLOCK | O_NOCTTY, 0, 0, 0);
  if (control < 0) return 3;
  open_power_button();
  for (i = 2; i < count && disks < 2; i++) open_disk(arguments[i]);
  seed = now_us() * 2862933555777941757ul + 3037000493ul;
  if (disks) {
    read_header();
    number = last_number(0);
    /* A's last number may be missing on B: it is written there, as the interrupted pair would have been. */
    if (disks > 1 && running && last_number(1) + 1 == number) write_number(1);
  }
  work();
  return 0;
}
