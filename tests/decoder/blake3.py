"""BLAKE3 by its specification, as far as blobs need it: hashes, keyed hashes, and slices (4.19) held against a name."""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS_AND_DIAGONALS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
LEAF_BYTES = 1024  # what BLAKE3 calls a chunk
GROUP_BYTES = 16384  # a chunk of a blob (4.19)


def _rotated(word, bits):
    return (word >> bits | word << 32 - bits) & 0xFFFFFFFF


def _compress(value, block, counter, length, flags):
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    state = [*value, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, length, flags]
    for _ in range(7):
        for place, (a, b, c, d) in enumerate(COLUMNS_AND_DIAGONALS):
            for word, first, second in ((words[2 * place], 16, 12), (words[2 * place + 1], 8, 7)):
                state[a] = (state[a] + state[b] + word) & 0xFFFFFFFF
                state[d] = _rotated(state[d] ^ state[a], first)
                state[c] = (state[c] + state[d]) & 0xFFFFFFFF
                state[b] = _rotated(state[b] ^ state[c], second)
        words = [words[place] for place in PERMUTATION]
    return tuple(low ^ high for low, high in zip(state[:8], state[8:]))


def _leaf(data, counter, key, flags, is_root):
    value = key
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    for place, block in enumerate(blocks):
        is_last = place == len(blocks) - 1
        marks = CHUNK_START * (place == 0) | CHUNK_END * is_last | ROOT * (is_last and is_root)
        value = _compress(value, block, counter, len(block), flags | marks)
    return value


def _bytes(value):
    return struct.pack("<8I", *value)


def parent(left, right, is_root, key=IV, flags=0):
    """The hash of a node by those of its sides, 32 bytes each."""
    return _bytes(_compress(key, left + right, 0, 64, flags | PARENT | ROOT * is_root))


def left_bytes(size):
    """How many of so many bytes, more than one leaf, are on the left: the largest power of two of leaves but not all."""
    leaves = (size - 1) // LEAF_BYTES
    return LEAF_BYTES << leaves.bit_length() - 1


def subtree(data, start=0, is_root=True, key=IV, flags=0):
    """The hash of the bytes of a subtree that begins at a byte of the whole."""
    if len(data) <= LEAF_BYTES:
        return _bytes(_leaf(data, start // LEAF_BYTES, key, flags, is_root))
    left = left_bytes(len(data))
    sides = (
        subtree(data[:left], start, False, key, flags),
        subtree(data[left:], start + left, False, key, flags),
    )
    return parent(*sides, is_root, key, flags)


def keyed(key, data):
    return subtree(data, key=struct.unpack("<8I", key), flags=KEYED)


def verified(name, size, chunk, slice):
    """The bytes of a chunk of a blob, if the slice is that chunk's; else None (4.19)."""
    start, is_root, expected = 0, True, name
    if size == 0 or chunk * GROUP_BYTES >= size:
        return None
    while size > GROUP_BYTES:
        left, right, slice = slice[:32], slice[32:64], slice[64:]
        if len(right) != 32 or parent(left, right, is_root) != expected:
            return None
        middle = left_bytes(size)
        if chunk * GROUP_BYTES >= start + middle:
            start, size, expected = start + middle, size - middle, right
        else:
            size, expected = middle, left
        is_root = False
    return slice if len(slice) == size and subtree(slice, start, is_root) == expected else None
