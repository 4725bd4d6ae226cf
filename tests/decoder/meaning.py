"""What a message says, as JSON, and what becomes of its mutants: both are compared with what the engine finds."""

import hashlib
import json

from . import enrolment, frames, signed
from .cbor import Unreadable

WHATS = ("frame", "request", "answer")


def of_message(data, what, shortest=False):
    """Reads a message, "frame", "request" or "answer", and says it without bytes: these become hexadecimal digits."""
    if what != "frame":
        return _plain(enrolment.decode(data, what, shortest))
    frame = frames.decode(data, shortest)
    if frame["frame"] == "removed":
        # What cannot be read is a matter of the session, not of the frame (4.13).
        try:
            frame["states"] = signed.removal_statement(frame["removal"])
        except Unreadable:
            frame["states"] = None
    return _plain(frame)


def text(meaning):
    """JSON for people: one line for each field, and for each element of a list of records."""
    lines = []
    for name, value in meaning.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = "[\n    " + ",\n    ".join(_short(element) for element in value) + "\n  ]"
        else:
            value = _short(value)
        lines.append(f'  "{name}": {value}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def mutants(data):
    """Every change of one byte: of each of its bits, and to some that mean something in CBOR."""
    for place, byte in enumerate(data):
        for changed in [byte ^ 1 << bit for bit in range(8)] + [0x00, 0x9F, 0xF6, 0xFF]:
            yield data[:place] + bytes([changed]) + data[place + 1 :]


def fate_of_mutants(data, what):
    """How many are read and refused, and a hash over what the former say, sorted by the names of their fields."""
    read = refused = 0
    digest = hashlib.sha256()
    for mutant in mutants(data):
        try:
            meaning = of_message(mutant, what)
        except Unreadable:
            refused += 1
            digest.update(b"refused\n")
        else:
            read += 1
            line = json.dumps(meaning, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            digest.update(line.encode() + b"\n")
    return f"{read} {refused} {digest.hexdigest()[:16]}"


def _short(value):
    return json.dumps(value, ensure_ascii=False)


def _plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {name: _plain(element) for name, element in value.items()}
    return value
