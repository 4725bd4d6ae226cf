"""What the CDDL of the document is made of: each function here gives one that reads a value from a `Reader`."""

from .cbor import UINT_MAX, Unreadable

INT_MIN, INT_MAX = -(2**63), 2**63 - 1  # 2.1


class Optional:
    """`? name: type`: a field that may be missing where its array ends; null only if its shape says so."""

    def __init__(self, shape):
        self.shape = shape


def uint(most=UINT_MAX):
    return lambda reader: reader.uint(most)


def integer(reader):
    number = reader.integer()
    if not INT_MIN <= number <= INT_MAX:
        raise Unreadable("an integer of more than 64 bits")
    return number


def within(most):
    """An `int` that is no further than that from 0."""

    def read(reader):
        number = integer(reader)
        if abs(number) > most:
            raise Unreadable(f"{number} is beyond {most}")
        return number

    return read


def wrapped(number):
    """Modulo 2^64, as an `int`."""
    return (number - INT_MIN) % 2**64 + INT_MIN


def boolean(reader):
    return reader.boolean()


def fixed(size):
    """`bstr .size size`."""

    def read(reader):
        value = reader.byte_string()
        if len(value) != size:
            raise Unreadable(f"{len(value)} bytes, not {size}")
        return value

    return read


def blob(most=UINT_MAX):
    def read(reader):
        value = reader.byte_string()
        if len(value) > most:
            raise Unreadable(f"{len(value)} bytes, the most is {most}")
        return value

    return read


def text(most, least=0, controls=True):
    """`tstr` of so many bytes; `controls` is whether it may have control characters."""

    def read(reader):
        value = reader.text()
        if not least <= len(value.encode()) <= most:
            raise Unreadable(f"a text of {len(value.encode())} bytes, not {least} to {most}")
        if not controls and any(is_control(character) for character in value):
            raise Unreadable("a control character")
        return value

    return read


def is_control(character):
    return character < " " or "\x7f" <= character <= "\x9f"


def side_by_side(size):
    """`hashes`: byte strings of one size in one."""

    def read(reader):
        value = reader.byte_string()
        if len(value) % size:
            raise Unreadable(f"{len(value)} bytes are no multiple of {size}")
        return [value[at : at + size] for at in range(0, len(value), size)]

    return read


def array(shape, most=UINT_MAX, least=0):
    """`[least*most shape]`."""

    def read(reader):
        count = reader.array()
        if not least <= count <= most:
            raise Unreadable(f"{count} elements, not {least} to {most}")
        return [shape(reader) for _ in range(count)]

    return read


def nullable(shape):
    """`shape / null`."""
    return lambda reader: None if reader.null() else shape(reader)


def record(**fields):
    """`[ … ]`: elements behind those that are known are skipped (2.3)."""
    return lambda reader: _fields(reader, reader.array(), fields)


def choice(what, kinds):
    """`[0, …] / [1, …]`: the first element says which; `kinds` has its name and its fields."""

    def read(reader):
        count = reader.array()
        if count == 0:
            raise Unreadable("an empty array")
        number = reader.uint()
        if number not in kinds:
            raise Unreadable(f"{what} {number} is unknown")
        name, fields = kinds[number]
        return {what: name} | _fields(reader, count - 1, fields)

    return read


def _fields(reader, count, fields):
    value = {}
    for name, shape in fields.items():
        optional = isinstance(shape, Optional)
        if count == 0:
            if not optional:
                raise Unreadable(f"{name} is missing")
            value[name] = None
            continue
        value[name] = shape.shape(reader) if optional else shape(reader)
        count -= 1
    for _ in range(count):
        reader.skip()
    return value
