"""Holds points of a pool against what their disks held: `judge.py POOL_DIR < expected.json > differences.json`.

Reads with the offline reader alone, whose checks (ids, hashes, lengths) all apply: what passes here, its `restore` writes.
Every frame of the pool is read once, however many points show it, and each of its blocks is compared with all that they expect.

expected.json: [{"chain", "point", "disks": {TARGET: {"sizeBytes", "sectors"}}}]; sectors: one byte for each of 512, base64 of
zlib. differences.json: a list of sentences. Memory: the sectors of all disks, and one frame.
"""
import base64, collections, json, os, sys, zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../tools/offline-reader'))
from restore import (
    BLOCK, CODECS, DATA, PAGE, PAGE_BLOCKS, SEGMENT, SEGMENT_PAGES, Frame, Refused, Repository,
    need, parse_page, parse_segment, read_point,
)  # fmt: skip

SECTOR = 512
FILLED = [bytes([number]) * SECTOR for number in range(256)]


def unequal(data, sectors):
    """The first byte of a block that is not as its sectors say, and what it is and should be; None: it is as they say."""
    wanted = b''.join([FILLED[number] for number in sectors])
    if data == wanted:
        return None
    at = next((i for i, (found, due) in enumerate(zip(data, wanted)) if found != due), min(len(data), len(wanted)))
    return at, data[at : at + 1].hex(), wanted[at : at + 1].hex()


class Judge:
    def __init__(self, pool):
        self.repo = Repository(pool, None)
        self.parsed = {}  # pages and segments, which points share
        self.wanted = collections.defaultdict(dict)  # by chain and frame: (block in it, its id, sectors) -> who expects it
        self.found = []

    def tell(self, who, what):
        self.found.append(f'{who}: {what}')

    def read(self, chain, at, kind, id, what, parse):
        key = chain, at, id
        if key not in self.parsed:
            name, raw = self.repo.frame(chain, at, kind, what)
            self.parsed[key] = parse(name, raw)
        return self.parsed[key]

    def blocks(self, chain, point, disk):
        """Of every block that is not zero: number in the disk, frame, number in the frame, id."""
        for s, told in ((s, told) for s, told in enumerate(disk['segments']) if told):
            place = [told[member] for member in ('writerId', 'seq', 'frame', 'offset', 'storedLength', 'plainLength')]
            at, id, what = Frame(*place, CODECS[told['codec']]), bytes.fromhex(told['id']), f'segment {s}'
            pages = self.read(chain, at, SEGMENT, id, what, lambda name, raw: parse_segment(self.repo, raw, id, name, what))
            for p, page_id, used, at in pages:
                what, first = f'page {s * SEGMENT_PAGES + p}', (s * SEGMENT_PAGES + p) * PAGE_BLOCKS
                parse = lambda name, raw: parse_page(self.repo, raw, page_id, used, name, what)
                for frame, taken in self.read(chain, at, PAGE, page_id, what, parse):
                    yield from ((first + b, frame, k, block_id) for b, k, block_id in taken)

    def expect(self, told):
        chain, who = told['chain'], f'point {told["point"]}'
        point = read_point(self.repo, chain, told['point'])
        need(point, who, 'a void point: it does not exist')
        disks = {disk['target']: disk for disk in point.facts['disks']}
        if disks.keys() != told['disks'].keys():
            self.tell(who, f'holds {sorted(disks)}, not {sorted(told["disks"])}')
        for target in disks.keys() & told['disks'].keys():
            self.expect_disk(chain, point, disks[target], told['disks'][target], f'{who}, {target}')

    def expect_disk(self, chain, point, disk, told, who):
        sectors = zlib.decompress(base64.b64decode(told['sectors']))
        if disk['sizeBytes'] != told['sizeBytes']:
            return self.tell(who, f'{disk["sizeBytes"]} bytes instead of {told["sizeBytes"]}')
        # As a restore does: the root names the segments.
        ids = b''.join(bytes.fromhex(told['id']) if told else bytes(32) for told in disk['segments'])
        root = b'casvault root 1\0' + disk['sizeBytes'].to_bytes(8, 'little') + ids
        self.repo.check_id(root, bytes.fromhex(disk['root']), point.name, f'root of {disk["target"]}')
        per_block, shown = BLOCK // SECTOR, set()
        for block, frame, k, block_id in self.blocks(chain, point, disk):
            shown.add(block)
            key = k, block_id, sectors[block * per_block : (block + 1) * per_block]
            self.wanted[chain, frame].setdefault(key, (who, block))
        for block in set(range(-(-len(sectors) // per_block))) - shown:
            due = sectors[block * per_block : (block + 1) * per_block]
            if any(due):
                self.tell(who, f'byte {block * BLOCK + next(i for i, n in enumerate(due) if n) * SECTOR} is not there')

    def compare(self):
        """Every frame once, with all that points expect of it."""
        for (chain, frame), expected in self.wanted.items():
            try:
                self.compare_frame(chain, frame, expected)
            except Refused as refused:
                self.tell(', '.join(sorted({who for who, _ in expected.values()})), refused)

    def compare_frame(self, chain, frame, expected):
        name, plain = self.repo.frame(chain, frame, DATA, 'data')
        for (k, block_id, sectors), (who, block) in expected.items():
            difference = unequal(plain[k * BLOCK : (k + 1) * BLOCK], sectors)
            if difference:
                at, found, due = difference
                self.tell(who, f'byte {block * BLOCK + at} is {found}, not {due} ({name}, frame {frame.ordinal})')
        self.check_ids(plain, name, {(k, block_id) for k, block_id, _ in expected})

    def check_ids(self, plain, name, taken):
        taken = sorted(taken)
        seen = self.repo.hashes([plain[k * BLOCK : (k + 1) * BLOCK] for k, _ in taken], self.repo.id_key)
        for (k, block_id), id in zip(taken, seen):
            need(id == block_id, name, f'block {k}: its id does not fit')


def main(pool):
    judge = Judge(pool)
    for told in json.load(sys.stdin):
        try:
            judge.expect(told)
        except Refused as refused:
            judge.tell(f'point {told["point"]}', refused)
    judge.compare()
    json.dump(judge.found, sys.stdout)


main(sys.argv[1])
