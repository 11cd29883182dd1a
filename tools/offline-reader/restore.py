#!/usr/bin/env python3
"""Reads a Casvault pool without Casvault: lists its points, checks what is stored, restores a disk to a sparse raw file.

Written from docs/formats/repository-v1.md alone; it shares no code with the product. The headings
below are sections of that page. Needs Python 3.8 and libzstd; where the descriptor says blake3-256, the program b3sum;
for an encrypted repository, libcrypto (OpenSSL). The pool is a folder that has every object under its name.

usage: restore.py list    POOL_DIR [--key-file F]     points; with the key of an encrypted repository also VMs and disks
       restore.py check   POOL_DIR                    all that the points name, by the hashes over what is stored; no key
       restore.py restore POOL_DIR CHAIN_ID POINT_ID DISK_TARGET OUT.raw [--key-file F]

F holds the passphrase (one newline at its end is not part of it), or the raw key as 32 bytes or 64 hex digits.
What is unknown, missing or damaged is refused by the name of its object: exit code 1, and of the disk there is at most
OUT.raw.partial, which has only bytes that were checked. Not followed: relocations (moves/), which version 1 reserves.
"""
import base64, collections, contextlib, ctypes, functools, hashlib, hmac, json, os, re, struct, subprocess, sys, tempfile, uuid

BLOCK, GROUP, PAGE_BLOCKS, SEGMENT_PAGES = 1 << 16, 1 << 20, 2048, 1024
OBJECT_MAX = 64 << 20  # of a pack, a manifest, and either part of a manifest unpacked
DATA, PAGE, SEGMENT = 1, 2, 3
PLAIN_MAX = {DATA: GROUP, PAGE: GROUP, SEGMENT: 16 << 20}
CODECS = {'none': 0, 'zstd': 1}
BATCH = 256  # blocks or frames hashed together: at most 16 MiB of blocks
UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')

Frame = collections.namedtuple('Frame', 'writer seq ordinal offset stored plain codec')  # where it is; writer as text
Point = collections.namedtuple('Point', 'name inventory facts')  # facts: None where sealed and no key was given


class Refused(Exception):
    """What was found that the format forbids, and in which object."""


def need(condition, name, reason):
    if not condition:
        raise Refused(f'{name}: {reason}')


@contextlib.contextmanager
def members_of(name):
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f'{name}: a member is missing or not what the format says: {error!r}') from None


def bits(mask):
    return [i for i in range(len(mask) * 8) if mask[i >> 3] >> (i & 7) & 1]


# ---- what the page presupposes: zstd, AES-256-GCM, HKDF, hashes


@functools.lru_cache(None)
def library(*names):
    for name in names:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    sys.exit(f'restore.py: needs the library {names[0]}')


def unzstd(coded, length, name, what):
    decompress = library('libzstd.so.1', 'libzstd.1.dylib').ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(length + 1)
    got = decompress(out, ctypes.c_size_t(length), coded, ctypes.c_size_t(len(coded)))
    need(got == length, name, f'{what} does not decompress to {length} bytes')
    return ctypes.string_at(out, length)


def libcrypto():
    return library('libcrypto.so.3', 'libcrypto.so.1.1', 'libcrypto.3.dylib')


def scrypt(passphrase, salt, *cost):
    """RFC 7914. Not hashlib's: that one stops at 2 GiB of memory, the highest cost is above."""
    size, number, out = ctypes.c_size_t, ctypes.c_uint64, ctypes.create_string_buffer(32)
    inputs = passphrase, size(len(passphrase)), salt, size(len(salt))
    done = libcrypto().EVP_PBE_scrypt(*inputs, *map(number, cost), number(4 << 30), out, size(32))
    need(done == 1, 'repository.json', f'scrypt with N, r, p {cost} is not possible here')
    return out.raw


def unseal(key, sealed, bound, name, what):
    """nonce (12) | AES-256-GCM ciphertext | tag (16)"""
    need(len(sealed) >= 28, name, f'{what} is too short to be sealed')
    nonce, body, tag = sealed[:12], sealed[12:-16], sealed[-16:]
    lib, n = libcrypto(), ctypes.c_int()
    lib.EVP_CIPHER_CTX_new.restype = lib.EVP_aes_256_gcm.restype = ctypes.c_void_p
    context, out = ctypes.c_void_p(lib.EVP_CIPHER_CTX_new()), ctypes.create_string_buffer(len(body) + 16)
    opened = (
        lib.EVP_DecryptInit_ex(context, ctypes.c_void_p(lib.EVP_aes_256_gcm()), None, key, nonce) == 1
        and lib.EVP_DecryptUpdate(context, None, ctypes.byref(n), bound, len(bound)) == 1
        and lib.EVP_DecryptUpdate(context, out, ctypes.byref(n), body, len(body)) == 1
        and lib.EVP_CIPHER_CTX_ctrl(context, 0x11, 16, tag) == 1  # 0x11: EVP_CTRL_AEAD_SET_TAG
        and lib.EVP_DecryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(n)) == 1
    )
    lib.EVP_CIPHER_CTX_free(context)
    need(opened, name, f'{what} does not open: another key, or changed bytes')
    return ctypes.string_at(out, len(body))


def hkdf(key, salt, info):
    """RFC 5869 with SHA-256; 32 bytes are one round."""
    return hmac.new(hmac.new(salt, key, 'sha256').digest(), info + b'\x01', 'sha256').digest()


def sha256(pieces, key):
    return [(hmac.new(key, piece, 'sha256') if key else hashlib.sha256(piece)).digest() for piece in pieces]


def blake3(pieces, key):
    """One b3sum for all pieces, as files in memory: one for each would cost more than the hashing."""
    with tempfile.TemporaryDirectory(prefix='casvault-', dir='/dev/shm' if os.path.isdir('/dev/shm') else None) as folder:
        for i, piece in enumerate(pieces):
            with open(os.path.join(folder, str(i)), 'wb') as file:
                file.write(piece)
        command = ['b3sum', '--no-names', *(['--keyed'] if key else []), *map(str, range(len(pieces)))]
        try:
            done = subprocess.run(command, cwd=folder, input=key or b'', stdout=subprocess.PIPE, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f'restore.py: needs the program b3sum: {error}')
    return [bytes.fromhex(line) for line in done.stdout.decode().split()]


# ---- Objects, Descriptor, Keys, Frame


class Repository:
    def __init__(self, pool, key_file):
        self.pool, name = pool, 'repository.json'
        body, found, check = self.read(name).rpartition(b',\n  "check": "')
        need(found and check == hashlib.sha256(body).hexdigest().encode() + b'"\n}\n', name, 'its check does not fit')
        with members_of(name):
            told = json.loads(body + b'}')
            need(told['format'] == 'casvault repository' and told['version'] == 1, name, 'unknown format or version')
            need((told['blockBytes'], told['groupBytes']) == (BLOCK, GROUP), name, 'unknown size of blocks or groups')
            self.hashes = {'blake3-256': blake3, 'sha256': sha256}[told['hash']]
            self.shared = {'chain': False, 'pool': True}[told['dedupScope']]
            self.sealed = {'none': False, 'aes-256-gcm': True}[told['encryption']['mode']]
            self.id, self.id_key, self.opened = uuid.UUID(told['repositoryId']).bytes, None, not self.sealed
            if self.sealed and key_file:
                master = self.unwrap(told['encryption']['masterKeys'], key_file)
                purposes = (b'block ids', b'frames', b'manifests')
                keys = [hkdf(master, self.id, b'casvault v1 ' + purpose) for purpose in purposes]
                (self.id_key, self.frames_key, self.manifests_key), self.opened = keys, True

    def unwrap(self, copies, key_file):
        with open(key_file, 'rb') as file:
            given = file.read()
        line = re.sub(rb'\r?\n\Z', b'', given)
        raw_key = bytes.fromhex(line.decode()) if re.fullmatch(rb'[0-9a-fA-F]{64}', line) else given
        for how, wrapped in ((copy['wrapping'], base64.b64decode(copy['wrapped'])) for copy in copies):
            need(how['kind'] in ('scrypt', 'raw'), 'repository.json', f'unknown wrapping {how["kind"]}')
            key = raw_key
            if how['kind'] == 'scrypt':
                n, r, p, salt = how['N'], how['r'], how['p'], base64.b64decode(how['salt'])
                need(1 << 14 <= n <= 1 << 20 and 1 <= r <= 16 and 1 <= p <= 4, 'repository.json', 'cost of scrypt')
                key = scrypt(line, salt, n, r, p)
            with contextlib.suppress(Refused):  # the next copy may be the one of this key
                if len(key) == 32:
                    return unseal(key, wrapped, b'casvault master key 1\0' + self.id, 'repository.json', 'master key')
        raise Refused('repository.json: no copy of the master key opens with this key file')

    def check_end(self, raw, name, what):
        """Structures end with H over all before."""
        need(raw[-32:] == self.hashes([raw[:-32]], None)[0], name, f'{what}: the hash at its end does not fit')

    def check_id(self, plain, expected, name, what):
        need(self.hashes([plain], self.id_key)[0] == expected, name, f'{what}: its id does not fit')

    def read(self, name, offset=0, length=None):
        try:
            with open(os.path.join(self.pool, name), 'rb') as file:
                size = os.fstat(file.fileno()).st_size
                need(length or size <= OBJECT_MAX, name, f'{size} bytes are more than the format allows')
                raw = os.pread(file.fileno(), length or size, offset)
        except FileNotFoundError:
            moved = os.path.isdir(os.path.join(self.pool, 'moves'))
            raise Refused(f'{name}: missing' + ('; relocations of moves/ are not followed' if moved else '')) from None
        need(len(raw) == (length or size), name, f'ends before byte {offset + (length or size)}')
        return raw

    def names(self, folder):
        path = os.path.join(self.pool, folder)
        return sorted(filter(UUID.fullmatch, os.listdir(path) if os.path.isdir(path) else []))

    def pack_name(self, chain, writer, seq):
        return f'packs/{"shared" if self.shared else chain}/{writer}/{seq:08x}'

    def frame(self, chain, at, kind, of):
        """The name of the pack and the plain bytes of a frame in it."""
        name, what, extra = self.pack_name(chain, at.writer, at.seq), f'frame {at.ordinal} ({of})', 28 if self.sealed else 0
        need(at.codec in CODECS.values(), name, f'{what}: unknown codec {at.codec}')
        need(0 < at.plain <= PLAIN_MAX[kind] and extra < at.stored <= at.plain + extra, name, f'{what}: its lengths')
        raw = self.read(name, at.offset, at.stored)
        if self.sealed:
            place = uuid.UUID(at.writer).bytes + struct.pack('<I', at.seq)
            bound = self.id + place + struct.pack('<IIBBH', at.ordinal, at.plain, kind, at.codec, 0)
            raw = unseal(hkdf(self.frames_key, b'', b'pack' + place), raw, b'casvault frame 1' + bound, name, what)
        if at.codec == CODECS['zstd']:
            return name, unzstd(raw, at.plain, name, what)
        need(len(raw) == at.plain, name, f'{what}: stored as it is, but of another length')
        return name, raw


# ---- Manifest


def read_point(repo, chain, point):
    """A point, or None where a void point stands."""
    name = f'points/{chain}/{point}'
    raw, own = repo.read(name), [repo.id, uuid.UUID(chain).bytes, uuid.UUID(point).bytes]
    repo.check_end(raw, name, 'manifest')
    if raw[:8] == b'CASVVOID':
        need(raw[8:-32] == struct.pack('<H6x', 1) + b''.join(own), name, 'unknown version, or not what its name says')
        return None
    need(raw[:8] == b'CASVPONT' and len(raw) >= 80, name, 'not a manifest')
    version, flags, i, i_plain, j, j_plain = struct.unpack_from('<HHIIII', raw, 8)
    need(version == 1 and flags == int(repo.sealed) and not any(raw[28:48]), name, 'unknown version, flag or reserved byte')
    need(len(raw) == 48 + i + j + 32 and max(i_plain, j_plain) <= OBJECT_MAX, name, 'its lengths do not fit')
    with members_of(name):
        inventory = json.loads(unzstd(raw[48 : 48 + i], i_plain, name, 'inventory'))
        told = [uuid.UUID(inventory[member]).bytes for member in ('repositoryId', 'chainId', 'pointId')]
        need(told == own, name, 'not what its name says')
        if not repo.opened:
            return Point(name, inventory, None)
        facts = raw[48 + i : -32]
        if repo.sealed:
            key = hkdf(repo.manifests_key, b'', b'point' + own[1] + own[2])
            facts = unseal(key, facts, raw[: 48 + i], name, 'facts')
        return Point(name, inventory, json.loads(unzstd(facts, j_plain, name, 'facts')))


def packs_of(point):
    with members_of(point.name):
        ranges = [(told['writerId'], first, last) for told in point.inventory['packs'] for first, last in told['seqs']]
        return [(writer, seq) for writer, first, last in ranges for seq in range(first, last + 1)]


# ---- Segment, Page


def parse_segment(repo, raw, expected, name, what):
    """The pages that are not all zero: number in the segment, page id, number of blocks in use, where it is."""
    repo.check_end(raw, name, what)
    need(raw[:4] == b'SEGM' and len(raw) >= 176, name, f'{what}: not a segment')
    version, used, packs, writers, reserved = struct.unpack_from('<HHIHH', raw, 4)
    present, pack_at, writer_at = bits(raw[16:144]), 144 + 56 * used, 144 + 56 * used + 8 * packs
    need(version == 1 and reserved == 0, name, f'{what}: unknown version or reserved byte')
    need(len(present) == used and len(raw) == writer_at + 16 * writers + 32, name, f'{what}: its counts do not fit')
    pages, ids = [], [bytes(32)] * SEGMENT_PAGES
    for i, number in enumerate(present):
        page, pack, ordinal, blocks, *lengths, codec, reserved = struct.unpack_from('<32sIHHIIIB3s', raw, 144 + 56 * i)
        need(pack < packs and not any(reserved), name, f'{what}: page {number}: pack or reserved byte')
        writer, _, seq = struct.unpack_from('<HHI', raw, pack_at + 8 * pack)
        need(writer < writers, name, f'{what}: page {number}: writer')
        writer_id = raw[writer_at + 16 * writer : writer_at + 16 * writer + 16]
        pages.append((number, page, blocks, Frame(str(uuid.UUID(bytes=writer_id)), seq, ordinal, *lengths, codec)))
        ids[number] = page
    repo.check_id(b'casvault segm 1\0' + b''.join(ids), expected, name, what)
    return pages


def parse_page(repo, raw, expected, blocks, name, what):
    """The frames of a page, each with the blocks in it: number in the page, number in the frame, block id."""
    repo.check_end(raw, name, what)
    need(raw[:4] == b'PAGE' and len(raw) >= 304, name, f'{what}: not a page')
    version, packs, frames, used, reserved = struct.unpack_from('<HHHHI', raw, 4)
    present, place_at, frame_at = bits(raw[16:272]), 272 + 32 * used, 272 + 34 * used
    pack_at = frame_at + 20 * frames
    need(version == 1 and reserved == 0, name, f'{what}: unknown version or reserved byte')
    need(len(present) == used == blocks and len(raw) == pack_at + 20 * packs + 32, name, f'{what}: its counts do not fit')
    found, ids = [], [bytes(32)] * PAGE_BLOCKS
    for i in range(frames):
        pack, ordinal, *lengths, codec, reserved = struct.unpack_from('<HHIIIB3s', raw, frame_at + 20 * i)
        need(pack < packs and not any(reserved), name, f'{what}: frame {i} of its list: pack or reserved byte')
        writer, seq = struct.unpack_from('<16sI', raw, pack_at + 20 * pack)
        found.append((Frame(str(uuid.UUID(bytes=writer)), seq, ordinal, *lengths, codec), []))
    for i, number in enumerate(present):
        ids[number] = raw[272 + 32 * i : 304 + 32 * i]
        (place,) = struct.unpack_from('<H', raw, place_at + 2 * i)
        need(place >> 4 < frames, name, f'{what}: block {number}: place')
        found[place >> 4][1].append((number, place & 15, ids[number]))
    repo.check_id(b'casvault page 1\0' + b''.join(ids), expected, name, what)
    return found


# ---- Restoring without the product


def blocks_of(repo, point, disk, packs):
    """Every block that is not zero: number in the disk, bytes, the id they must have, where they are. Adds to packs."""
    chain, size, segments = point.inventory['chainId'], disk['sizeBytes'], disk['segments']
    need(len(segments) == -(-size // (1 << 37)), point.name, 'the segments do not cover the disk')
    ids = b''.join(bytes.fromhex(told['id']) if told else bytes(32) for told in segments)
    head = b'casvault root 1\0' + struct.pack('<Q', size)
    repo.check_id(head + ids, bytes.fromhex(disk['root']), point.name, f'root of {disk["target"]}')

    def read(at, kind, what):
        packs.add((at.writer, at.seq))
        return repo.frame(chain, at, kind, what)

    for s, told in ((s, told) for s, told in enumerate(segments) if told):
        need(UUID.fullmatch(told['writerId']), point.name, f'segment {s}: writer')
        place = [told[member] for member in ('writerId', 'seq', 'frame', 'offset', 'storedLength', 'plainLength')]
        name, raw = read(Frame(*place, CODECS[told['codec']]), SEGMENT, f'segment {s}')
        for p, page_id, used, at in parse_segment(repo, raw, bytes.fromhex(told['id']), name, f'segment {s}'):
            page = s * SEGMENT_PAGES + p
            name, raw = read(at, PAGE, f'page {page}')
            for frame, taken in parse_page(repo, raw, page_id, used, name, f'page {page}'):
                name, plain = read(frame, DATA, f'data of page {page}')
                for b, k, block_id in taken:
                    block, data = page * PAGE_BLOCKS + b, plain[k * BLOCK : (k + 1) * BLOCK]
                    where = f'{name}: frame {frame.ordinal}: block {k}, which is block {block} of the disk'
                    need(len(data) == min(BLOCK, size - block * BLOCK), where, 'its length does not fit')
                    yield block, data, block_id, where


def restore(repo, chain, point_id, target, out):
    need(UUID.fullmatch(chain) and UUID.fullmatch(point_id), f'{chain} {point_id}', 'chain and point are UUIDs')
    need(repo.opened, 'repository.json', 'the repository is encrypted: say --key-file')
    need(not os.path.exists(out), out, 'exists')
    point, packs, blocks = read_point(repo, chain, point_id), set(), 0
    need(point, f'points/{chain}/{point_id}', 'a void point: it does not exist')
    with members_of(point.name), open(out + '.partial', 'wb') as file:
        disks = {disk['target']: disk for disk in point.facts['disks']}
        need(target in disks, point.name, f'has no disk {target}, but {", ".join(disks)}')
        file.truncate(disks[target]['sizeBytes'])
        source = blocks_of(repo, point, disks[target], packs)
        while batch := [block for _, block in zip(range(BATCH), source)]:
            for (block, data, block_id, where), seen in zip(batch, repo.hashes([data for _, data, _, _ in batch], repo.id_key)):
                need(seen == block_id, where, 'its id does not fit')
                os.pwrite(file.fileno(), data, block * BLOCK)
            blocks += len(batch)
        os.fsync(file.fileno())
    os.rename(out + '.partial', out)
    for writer, seq in sorted(packs - set(packs_of(point))):
        print(f'warning: {point.name} does not name {repo.pack_name(chain, writer, seq)}, which was read', file=sys.stderr)
    print(f'{out}: {disks[target]["sizeBytes"]} bytes, {blocks} blocks that are not zero')


# ---- Pack: its end, which a restore does not read


def check_pack(repo, chain, writer, seq):
    name = repo.pack_name(chain, writer, seq)
    raw = repo.read(name)
    need(len(raw) >= 128 and raw[-64:-56] == b'CASVPACK', name, 'does not end as a pack')
    version, flags, length, whole, reserved = struct.unpack_from('<HHIQQ', raw, len(raw) - 56)
    need(version == 1 and flags in (0, 1) and reserved == 0, name, 'unknown version, flag or reserved byte')
    need(whole == len(raw) and 64 <= length <= whole - 64, name, f'{len(raw)} bytes do not fit its footer')
    begin = whole - 64 - length
    repo.check_end(raw[begin:], name, 'trailer')
    own = repo.id + (bytes(16) if repo.shared else uuid.UUID(chain).bytes) + uuid.UUID(writer).bytes + struct.pack('<I', seq)
    frames, ids, reserved = struct.unpack_from('<III', raw, begin + 52)
    need(raw[begin : begin + 52] == own and reserved == 0, name, 'not what its name says')
    need(length == 64 + frames * (80 if flags else 56) + ids * 32, name, 'the length of its trailer does not fit')
    end, named, hashes, pieces = 0, 0, [], []
    for entry in range(begin + 64, begin + 64 + frames * 56, 56):
        offset, stored, plain, kind, codec, _, _, mask, reserved, over = struct.unpack_from('<IIIBBHIHH32s', raw, entry)
        what, in_mask = f'frame {len(pieces)}', bin(mask).count('1')
        need(kind in PLAIN_MAX and codec in CODECS.values() and reserved == 0, name, f'{what}: kind, codec or reserved byte')
        need(in_mask == (-(-plain // BLOCK) if kind == DATA else 0), name, f'{what}: its mask does not fit its length')
        need(offset == end and plain <= PLAIN_MAX[kind], name, f'{what}: its place or length')
        end, named = offset + stored, named + (in_mask or 1)
        hashes.append(over)
        pieces.append(raw[offset:end])
    need(end == begin and named == ids, name, 'its frames do not fit its trailer')
    for first in range(0, frames, BATCH):
        for i, seen in enumerate(repo.hashes(pieces[first : first + BATCH], None), first):
            need(seen == hashes[i], name, f'frame {i}: the hash over its stored bytes does not fit')


# ---- commands


def points_of(repo, failures):
    for chain in repo.names('points'):
        for point_id in repo.names(f'points/{chain}'):
            try:
                point = read_point(repo, chain, point_id)
                if point:
                    yield point
            except Refused as refused:
                failures.append(refused)


def list_points(repo, failures):
    points = [(point.inventory, point.facts) for point in points_of(repo, failures)]
    for told, facts in sorted(points, key=lambda point: (point[0]['chainId'], point[0]['createdAt'])):
        of = f'of {facts["vm"]["name"]}' if facts else '(sealed: say --key-file)'
        print(f'chain {told["chainId"]} point {told["pointId"]} {told["kind"]} {told["createdAt"]} {of}')
        for disk in facts['disks'] if facts else []:
            print(f'  disk {disk["target"]} {disk["sizeBytes"]} bytes, {disk["usedBlocks"]} blocks that are not zero')


def check(repo, failures):
    points = list(points_of(repo, failures))
    packs = {(point.inventory['chainId'], *pack) for point in points for pack in packs_of(point)}
    # In scope `pool` the points of several chains name the same pack.
    for pack in {repo.pack_name(*pack): pack for pack in sorted(packs)}.values():
        try:
            check_pack(repo, *pack)
        except Refused as refused:
            failures.append(refused)
    print(f'{len(points)} points, {len(packs)} packs')


def main(words):
    key_file, failures = None, []
    if len(words) > 2 and words[-2] == '--key-file':
        *words, _, key_file = words
    command, count = {'list': (list_points, 1), 'check': (check, 1), 'restore': (restore, 5)}.get((words or ['?'])[0], (None, 0))
    if not command or len(words) != 1 + count:
        sys.exit(__doc__)
    try:
        repo = Repository(words[1], key_file)
        command(repo, *(words[2:] if command is restore else [failures]))
    except Refused as refused:
        failures.append(refused)
    for failure in failures:
        print(f'restore.py: {failure}', file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main(sys.argv[1:])
