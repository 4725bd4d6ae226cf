"""Messages of the negentropy protocol, version 1, as the ranges they are made of (4.8)."""

import hashlib

from .cbor import Unreadable

VERSION = 0x61
ID_BYTES, FINGERPRINT_BYTES = 32, 16
SKIP, FINGERPRINT, IDS = 0, 1, 2


def ranges(message):
    """Each range with its end: a timestamp (None: no end) and the first bytes of an id there."""
    parts = Parts(message)
    if parts.take(1) != bytes([VERSION]):
        raise Unreadable("another version of negentropy")
    found, timestamp = [], 0
    while parts.left():
        delta = parts.number()
        timestamp = None if delta == 0 or timestamp is None else timestamp + delta - 1
        until = {"timestamp": timestamp, "id": parts.take(parts.number(ID_BYTES))}
        mode = parts.number()
        if mode == SKIP:
            found.append({"until": until})
        elif mode == FINGERPRINT:
            found.append({"until": until, "fingerprint": parts.take(FINGERPRINT_BYTES)})
        elif mode == IDS:
            ids = [parts.take(ID_BYTES) for _ in range(parts.number(parts.left() // ID_BYTES))]
            found.append({"until": until, "ids": ids})
        else:
            raise Unreadable(f"mode {mode} is unknown")
    return found


def fingerprint(ids):
    """The fingerprint of a range: their sum modulo 2^256, little-endian, and how many, hashed and cut."""
    total = sum(int.from_bytes(id, "little") for id in ids) % 2**256
    return hashlib.sha256(total.to_bytes(32, "little") + number(len(ids))).digest()[:FINGERPRINT_BYTES]


def number(value):
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.insert(0, value & 0x7F | 0x80)
    return bytes(digits)


class Parts:
    def __init__(self, data):
        self.data = data

    def left(self):
        return len(self.data)

    def take(self, count):
        if count > len(self.data):
            raise Unreadable("a message of negentropy ends too early")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, most=2**64 - 1):
        """Base 128, the most significant digit first, the high bit set on all but the last."""
        number = 0
        while True:
            digit = self.take(1)[0]
            number = number << 7 | digit & 0x7F
            if number > most:
                raise Unreadable("a number that is too large")
            if digit < 0x80:
                return number
