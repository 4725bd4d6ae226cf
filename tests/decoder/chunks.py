"""Changes that were taken apart, put together again (5.4)."""

import hashlib

from .cbor import UINT_MAX, Unreadable
from .shapes import array, blob, side_by_side, uint, wrapped

PACK_UNPACKED_BYTES_MAX = 4194304  # 7.1
SHAPE_COLUMNS_MAX = 32
DOCUMENT_FRAME_CHANGES_MAX = 10000

MAGIC = bytes.fromhex("856f4a83")
CHANGE = 1
HASH, ACTOR, ID = 32, 16, 16
KEYS, VALUES, SPEC_MAX = 0x15, 0x57, 127

STREAMS = (
    "shape-of", "deps", "hashes", "actor-of", "seqs", "starts", "times", "messages", "lengths", "keys", "ids", "values",
    "sorts",
)


class Stream:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Unreadable("a stream that ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def uint(self):
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if value > UINT_MAX:
                break
            if byte < 0x80:
                return value
        raise Unreadable("a number of more than 64 bits")

    def difference(self):
        folded = self.uint()
        return -(folded + 1 >> 1) if folded & 1 else folded >> 1

    def behind_length(self):
        return self.take(self.uint())


def shape(reader):
    others, *specs = array(uint(), 1 + SHAPE_COLUMNS_MAX, least=1)(reader)
    if any(spec > SPEC_MAX for spec in specs):
        raise Unreadable("a specification of more than a byte")
    return others, specs


shapes_of = array(shape, DOCUMENT_FRAME_CHANGES_MAX)


class Together:
    """The element `apart` of a body; `next` gives one change after the other."""

    def __init__(self, reader):
        count = reader.array()
        if count < 2 + len(STREAMS):
            raise Unreadable("a stream is missing")
        self.shapes = shapes_of(reader)
        self.actors = side_by_side(ACTOR)(reader)
        self.streams = {name: Stream(blob()(reader)) for name in STREAMS}
        for _ in range(count - 2 - len(STREAMS)):
            reader.skip()
        self.made = []  # the hash, the actor's position, the number and the first op of each change
        self.time = 0
        self.bytes = 0

    def next(self):
        of = self.streams
        others, specs = _at(self.shapes, of["shape-of"].uint())
        deps, before = [], None
        for _ in range(of["deps"].uint()):
            back = of["deps"].uint()
            if back > len(self.made):
                raise Unreadable("a dependency before the pack")
            if back:
                before = before or self.made[-back]
            deps.append(self.made[-back][0] if back else of["hashes"].take(HASH))
        author = of["actor-of"].uint()
        actor = _at(self.actors, author)
        named = [_at(self.actors, of["actor-of"].uint()) for _ in range(others)]
        follows = before[2] + 1 if before and before[1] == author else 1
        seq = (follows + of["seqs"].difference()) % 2**64
        start = ((before[3] if before else 0) + of["starts"].difference()) % 2**64
        self.time = wrapped(self.time + of["times"].difference())
        message = of["messages"].behind_length()
        columns = [(spec, self._column(spec)) for spec in specs]

        body = _leb(len(deps)) + b"".join(deps) + _prefixed(actor) + _leb(seq) + _leb(start) + _signed_leb(self.time)
        body += _prefixed(message) + _leb(len(named)) + b"".join(map(_prefixed, named)) + _leb(len(columns))
        body += b"".join(_leb(spec) + _leb(len(data)) for spec, data in columns)
        hashed = bytes([CHANGE]) + _prefixed(body + b"".join(data for _, data in columns))
        name = hashlib.sha256(hashed).digest()
        self.made.append((name, author, seq, start))
        chunk = MAGIC + name[:4] + hashed
        self.bytes += len(chunk)
        if self.bytes > PACK_UNPACKED_BYTES_MAX:
            raise Unreadable("changes that are too large together")
        return chunk

    def _column(self, spec):
        lengths = self.streams["lengths"]
        if spec == VALUES:
            return self.streams["values"].take(lengths.uint())
        if spec != KEYS:
            return self.streams["sorts"].behind_length()
        left = Stream(self.streams["keys"].take(lengths.uint()))
        column = b""
        for _ in range(lengths.uint()):
            column += left.take(lengths.uint()) + self.streams["ids"].take(ID).hex().encode()
        return column + left.data[left.at :]

    def end(self):
        if any(stream.at < len(stream.data) for stream in self.streams.values()):
            raise Unreadable("something is left in a stream")


def _at(table, position):
    if position >= len(table):
        raise Unreadable(f"position {position} is beyond the table")
    return table[position]


def _leb(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded + bytes([number]))


def _signed_leb(number):
    encoded = bytearray()
    while not -0x40 <= number < 0x40:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded + bytes([number & 0x7F]))


def _prefixed(data):
    return _leb(len(data)) + data
