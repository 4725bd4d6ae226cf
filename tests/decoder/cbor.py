"""CBOR (RFC 8949) as section 2.1 narrows it: definite lengths, no maps, no floats, no tags."""

UINT_MAX = 2**64 - 1

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
FALSE, TRUE, NULL, BREAK = 0xF4, 0xF5, 0xF6, 0xFF
INDEFINITE = 31


class Unreadable(Exception):
    """The bytes break a rule of sections 2, 5, 7 or 10.2: the code `frame_unreadable`."""


class Reader:
    """Takes items off the front of some bytes, and no more memory than they are worth."""

    def __init__(self, data, shortest=False):
        self.data = data
        self.at = 0
        self.shortest = shortest  # whether longer forms of numbers are refused, too

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Unreadable("ends too early")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def head(self):
        """The major type of the next item and the number that comes with it."""
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if major == SIMPLE:
            if first not in (FALSE, TRUE, NULL):
                raise Unreadable("a simple value that does not occur, or a float")
            return major, first
        if major > ARRAY:
            raise Unreadable("a map or a tag")
        if info < 24:
            return major, info
        if info > 27:
            raise Unreadable("a length that is not definite")
        number = int.from_bytes(self.take(1 << (info - 24)), "big")
        if self.shortest and number < (24, 2**8, 2**16, 2**32)[info - 24]:
            raise Unreadable("a number that is not in its shortest form")
        return major, number

    def number(self, major, what):
        found, number = self.head()
        if found != major:
            raise Unreadable(f"not {what}")
        return number

    def uint(self, most=UINT_MAX):
        number = self.number(UNSIGNED, "an unsigned integer")
        if number > most:
            raise Unreadable(f"{number} is more than {most}")
        return number

    def integer(self):
        major, number = self.head()
        if major not in (UNSIGNED, NEGATIVE):
            raise Unreadable("not an integer")
        return number if major == UNSIGNED else -1 - number

    def byte_string(self):
        return self.take(self.number(BYTES, "bytes"))

    def text(self):
        return utf8(self.take(self.number(TEXT, "text")))

    def boolean(self):
        major, number = self.head()
        if major != SIMPLE or number == NULL:
            raise Unreadable("neither true nor false")
        return number == TRUE

    def array(self):
        """How many items the array has that begins here."""
        count = self.number(ARRAY, "an array")
        if count > len(self.data) - self.at:
            raise Unreadable("an array longer than the message")
        return count

    def null(self):
        """Whether the next item is null, which is then taken."""
        is_null = self.data[self.at : self.at + 1] == bytes([NULL])
        self.at += is_null
        return is_null

    def skip(self):
        """Takes an item of any kind: maps, floats, tags and indefinite lengths, too (2.3)."""
        open_items = [1]  # how many items each open one still wants; None for one that ends by a break
        while open_items:
            if open_items[-1] == 0:
                open_items.pop()
                continue
            first = self.take(1)[0]
            if first == BREAK:
                if open_items.pop() is not None:
                    raise Unreadable("a break where none may be")
                continue
            if open_items[-1] is not None:
                open_items[-1] -= 1
            self._skip_one(first, open_items)

    def _skip_one(self, first, open_items):
        major, info = first >> 5, first & 31
        if info == INDEFINITE and major in (BYTES, TEXT):
            self._skip_pieces(major)
        elif info == INDEFINITE and major in (ARRAY, MAP):
            open_items.append(None)
        elif info > 27:
            raise Unreadable("no item of CBOR")
        else:
            number = info if info < 24 else int.from_bytes(self.take(1 << (info - 24)), "big")
            if major == BYTES:
                self.take(number)
            elif major == TEXT:
                utf8(self.take(number))
            elif major in (ARRAY, MAP):
                open_items.append(number * (2 if major == MAP else 1))
            elif major == TAG:
                open_items.append(1)

    def _skip_pieces(self, major):
        while self.data[self.at : self.at + 1] != bytes([BREAK]):
            piece = self.take(self.number(major, "a piece of the same kind"))
            if major == TEXT:
                utf8(piece)
        self.take(1)

    def end(self):
        if self.at != len(self.data):
            raise Unreadable("something follows")


def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("text that is not UTF-8") from error


def encode(value):
    """Lists, whole numbers, bytes, text and None in their shortest form."""
    if value is None:
        return bytes([NULL])
    if isinstance(value, int):
        return _head(UNSIGNED, value) if value >= 0 else _head(NEGATIVE, -1 - value)
    if isinstance(value, str):
        return _head(TEXT, len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return _head(BYTES, len(value)) + value
    return _head(ARRAY, len(value)) + b"".join(encode(item) for item in value)


def _head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 256**size)
    return bytes([major << 5 | 23 + size.bit_length()]) + number.to_bytes(size, "big")
