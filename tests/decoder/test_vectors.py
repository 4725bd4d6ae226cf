"""PROTOCOL.md is complete: a decoder written from it alone reads every golden vector, and refuses what it should.

Each vector is a test of its own, found by listing the folder. What it says is in the JSON file beside it, and what
becomes of its mutants in `mutants.txt`; the engine's own tests (`sync-protocol/tests/protocol/golden.rs`) hold its
codec to the same files, so that document and code cannot part unseen. Run it in `tests/`:

    python3 -m unittest decoder.test_vectors
"""

import hashlib
import re
import unittest

import zstandard

from . import blake3, chunks, enrolment, frames, meaning, negentropy, signed, vectors
from .cbor import Reader, Unreadable, encode

AUTOMERGE = bytes.fromhex("856f4a83")  # what a chunk of Automerge's begins with


def vector(name):
    return vectors.data(vectors.FOLDER / f"{name}.hex")


def what_of(path):
    """Whether a vector is a frame, a request or an answer: its bytes alone do not say."""
    return next(what for what in meaning.WHATS if what in vectors.said(path))


class Vectors(unittest.TestCase):
    maxDiff = None

    def check(self, path):
        data, what = vectors.data(path), what_of(path)
        self.assertEqual(meaning.of_message(data, what), vectors.said(path))
        meaning.of_message(data, what, shortest=True)
        for wrong in [data[:end] for end in range(len(data))] + [data + b"\0", data + data]:
            with self.assertRaises(Unreadable):
                meaning.of_message(wrong, what)
        if vectors.has_fate(path):
            self.assertEqual(meaning.fate_of_mutants(data, what), vectors.fates().get(path.name))


for one in vectors.paths():
    name = "test_" + one.stem.replace("-", "_").replace(".", "_")
    setattr(Vectors, name, lambda self, path=one: self.check(path))


class TheDocument(unittest.TestCase):
    def test_has_the_limits_that_are_held_here(self):
        rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", vectors.DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
        constants = vars(enrolment) | vars(frames) | vars(chunks)
        held = {name: constants[name] for name, _ in rows if name in constants}
        self.assertGreater(len(held), 20)
        self.assertEqual(held, {name: int(value) for name, value in rows if name in held})


class TheSet(unittest.TestCase):
    def test_has_every_kind_of_message(self):
        kinds = {"frame": frames.FRAMES, "request": enrolment.REQUESTS, "answer": enrolment.ANSWERS}
        known = {(what, name) for what in kinds for name, _ in kinds[what].values()}
        self.assertEqual({(what_of(path), vectors.said(path)[what_of(path)]) for path in vectors.paths()}, known)

    def test_has_every_entry_verdict_and_format(self):
        said = [vectors.said(path) for path in vectors.paths()]
        entries = {entry["entry"] for it in said for entry in it.get("entries", [])}
        self.assertEqual(entries, {name for name, _ in frames.ENTRIES.values()})
        verdicts = {verdict["verdict"] for it in said for verdict in it.get("verdicts", [])}
        self.assertEqual(verdicts, {"accepted"} | {name for name, _ in frames.VERDICTS.values()})

        answers = {it["answer"]["answer"] for it in said if it.get("frame") == "offered"}
        self.assertEqual(answers, {name for name, _ in frames.OFFER_ANSWERS.values()})

    def test_has_no_fate_of_a_vector_that_is_not_there(self):
        self.assertEqual(set(vectors.fates()), {path.name for path in vectors.paths() if vectors.has_fate(path)})


class HashesAndSignatures(unittest.TestCase):
    """By the key in `enrol-redeem`, as the device and the installation in `removed` (2.7)."""

    @classmethod
    def setUpClass(cls):
        cls.redeem = enrolment.decode(vector("enrol-redeem.v1"), "request")
        cls.key = cls.redeem["key_request"]["key"]
        cls.removed = frames.decode(vector("removed.v2"))
        cls.states = signed.removal_statement(cls.removed["removal"])

    def is_signed(self, signature, statement):
        changed = bytes([statement[0] ^ 1]) + statement[1:]
        self.assertFalse(signed.is_signed(self.key, signature, changed))
        return signed.is_signed(self.key, signature, statement)

    def test_every_seal_is_over_its_batch(self):
        pushes = [frames.decode(vectors.data(path)) for path in vectors.paths() if path.name.startswith("push-")]
        sealed = [push for push in pushes if push["seal"] is not None]
        for push in sealed:
            batch = signed.batch_statement(push, self.states["device"], self.states["install"])
            self.assertTrue(self.is_signed(push["seal"]["signature"], batch))
        self.assertGreaterEqual(len(sealed), 3)

    def test_a_removal_is_signed_and_named_by_its_acknowledgement(self):
        self.assertTrue(self.is_signed(self.removed["signature"], self.removed["removal"]))
        noted = frames.decode(vector("noted.v2"))
        self.assertEqual(noted["removal"], hashlib.sha256(self.removed["removal"]).digest())

    def test_a_request_to_enrol_is_signed_and_has_the_fingerprint_of_the_answer(self):
        statement = signed.enrol_statement(self.redeem)
        self.assertTrue(self.is_signed(self.redeem["key_request"]["signature"], statement))
        waiting = enrolment.decode(vector("enrol-waiting.v1"), "answer")
        self.assertEqual(waiting["fingerprint"], enrolment.fingerprint(self.key))

    def test_a_change_is_named_by_the_hash_that_automerge_cut_its_checksum_from(self):
        (document,) = frames.decode(vector("push-signed-zstd.v1"))["documents"]
        (change,) = document["changes"]
        self.assertTrue(change["chunk"].startswith(AUTOMERGE + change["hash"][:4] + b"\x01"))


class Reconciliation(unittest.TestCase):
    def ranges(self, name):
        return negentropy.ranges(frames.decode(vector(name))["message"])

    def test_nothing_is_one_range_without_ids(self):
        for name in ("reconcile-ask.v1", "reconcile-answer.v1"):
            self.assertEqual(self.ranges(name), [{"until": {"timestamp": None, "id": b""}, "ids": []}])

    def test_few_items_are_listed(self):
        ids = [bytes([number]) * 32 for number in range(3)]
        self.assertEqual(self.ranges("reconcile-few.v1"), [{"until": {"timestamp": None, "id": b""}, "ids": ids}])

    def test_many_items_are_ranges_with_the_fingerprints_of_their_ids(self):
        # 4.8: the timestamp is the first 48 bits of the document's id, and orders before it.
        items = [(int.from_bytes(bytes([number]) * 6, "big"), bytes([number]) * 32) for number in range(100)]
        ranges = self.ranges("reconcile-many.v1")
        self.assertGreater(len(ranges), 2)
        for found in ranges:
            until = found["until"]
            within = [
                item for item in items
                if until["timestamp"] is None or item < (until["timestamp"], until["id"].ljust(32, b"\0"))
            ]
            items = items[len(within) :]
            self.assertEqual(found["fingerprint"], negentropy.fingerprint([id for _, id in within]))
        self.assertEqual(items, [])

    def test_what_is_no_message_is_refused(self):
        for wrong in ("", "60", "61000003", "61000001" + "00" * 15, "6100000202" + "00" * 32, "610021"):
            with self.assertRaises(Unreadable):
                negentropy.ranges(bytes.fromhex(wrong))


class Blobs(unittest.TestCase):
    def test_the_hash_is_the_published_one(self):
        # https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json
        key = b"whats the Elvish word for friend"
        for length, plain, with_key in (
            (0, "af1349b9f5f9a1a6", "92b2b75604ed3c76"),
            (1025, "d00278ae47eb27b3", "357dc55de0c7e382"),
            (31744, "62b6960e1a44bcc1", "efa53b389ab67c59"),
        ):
            data = bytes(at % 251 for at in range(length))
            self.assertEqual(blake3.subtree(data).hex()[:16], plain)
            self.assertEqual(blake3.keyed(key, data).hex()[:16], with_key)

    def test_a_slice_proves_its_chunk_and_no_other(self):
        for name in ("part.v4", "part-of-many.v4"):
            part = frames.decode(vector(name))
            place = part["blob"], part["size"], part["chunk"]
            bytes_of_last = (part["size"] - 1) % blake3.GROUP_BYTES + 1
            self.assertEqual(len(blake3.verified(*place, part["slice"])), bytes_of_last)
            for at in range(0, len(part["slice"]), 7):
                wrong = part["slice"][:at] + bytes([part["slice"][at] ^ 1]) + part["slice"][at + 1 :]
                self.assertIsNone(blake3.verified(*place, wrong))
            self.assertIsNone(blake3.verified(*place, part["slice"] + b"\0"))
            self.assertIsNone(blake3.verified(part["blob"], part["size"], part["chunk"] + 1, part["slice"]))
            self.assertIsNone(blake3.verified(bytes(32), part["size"], part["chunk"], part["slice"]))

    def test_possession_is_proven_by_a_hash_under_the_nonce(self):
        nonce = frames.decode(vector("offered-prove.v4"))["answer"]["nonce"]
        photo = frames.decode(vector("part.v4"))
        proof = frames.decode(vector("prove.v4"))
        self.assertEqual(proof["blob"], photo["blob"])
        self.assertEqual(proof["proof"], blake3.keyed(nonce, photo["slice"]))


class Packs(unittest.TestCase):
    body = encode([[bytes(16)], [], [], [[2, 0]] * 100])

    def read(self, size, packed):
        return frames.decode(encode([4, "a", 1, bytes(16), 100, [1, size, packed]]))

    def refuse(self, size, packed, why):
        with self.assertRaisesRegex(Unreadable, why):
            self.read(size, packed)

    def frame(self, *blocks, window=0x60, descriptor=0x00):
        """A zstd frame by hand, so that it may have any window; 0x60 is 4 MiB, 0x68 8 MiB."""
        return bytes.fromhex("28b52ffd") + bytes([descriptor, window]) + b"".join(blocks)

    def raw(self, data):
        return (len(data) << 3 | 1).to_bytes(3, "little") + data

    def repeated(self, length, last):
        return (length << 3 | 2 | last).to_bytes(3, "little") + b"\0"

    def test_the_size_is_exact(self):
        packed = zstandard.ZstdCompressor().compress(self.body)
        self.assertEqual(len(self.read(len(self.body), packed)["entries"]), 100)
        self.refuse(len(self.body) - 1, packed, "more than it says")
        self.refuse(len(self.body) + 1, packed, "less than it says")

    def test_a_size_beyond_the_limit_is_refused_before_anything_is_unpacked(self):
        self.refuse(frames.PACK_UNPACKED_BYTES_MAX + 1, b"not even zstd", "too large when it is unpacked")
        self.refuse(2**64 - 1, b"", "too large when it is unpacked")

    def test_a_pack_that_swells_is_left_as_soon_as_it_holds_too_much(self):
        block = 1 << 17
        bomb = self.frame(*[self.repeated(block, last=0)] * 10_000, self.repeated(block, last=1))
        self.refuse(len(self.body), bomb, "more than it says")

    def test_a_window_beyond_the_limit_is_refused(self):
        self.assertTrue(self.read(len(self.body), self.frame(self.raw(self.body))))
        self.refuse(len(self.body), self.frame(self.raw(self.body), window=0x68), "zstd")

    def test_one_frame_stands_alone_and_whole(self):
        packed = zstandard.ZstdCompressor(write_checksum=True).compress(self.body)
        self.refuse(len(self.body), packed + b"\0", "something follows")
        self.refuse(len(self.body), packed + packed, "something follows")
        self.refuse(len(self.body), packed[:-1], "less than it says")
        self.refuse(len(self.body), packed[:-1] + bytes([packed[-1] ^ 1]), "zstd")

    def test_a_dictionary_is_refused(self):
        named = self.frame(b"\x07" + self.raw(self.body), descriptor=0x01)
        self.refuse(len(self.body), named, "dictionary")


class Refusals(unittest.TestCase):
    def refuse(self, data, why):
        with self.assertRaisesRegex(Unreadable, why):
            frames.decode(data)

    def test_what_cannot_be_skipped(self):
        self.refuse(encode([28, "a"]), "frame 28 is unknown")
        self.refuse(encode([16, bytes(32), [4]]), "answer 4 is unknown")
        self.refuse(encode([4, "a", 1, bytes(16), 1, [4, b""]]), "pack 4 is unknown")
        self.refuse(encode([4, "a", 1, bytes(16), 1, [0, encode([[], [], [], [[4]]])]]), "entry 4 is unknown")
        self.refuse(encode([3, 1, 0, None, [], [[4, 1]]]), "verdict 4 is unknown")
        self.refuse(encode([2, 1, 0, "a", [0, encode([[], [], [], []])], [2]]), "suite 2 is unknown")

    def test_what_follows_what_is_known_is_skipped_whatever_it_is(self):
        extra = bytes.fromhex("a10102 f93c00 c001 f7 9f01ff 5f4100ff 7f6161ff bf0102ff 80")
        self.assertEqual(frames.decode(b"\x8c" + encode([5, "a", 1])[1:] + extra), frames.decode(encode([5, "a", 1])))
        self.refuse(b"\x84" + encode([5, "a", 1])[1:] + b"\x61\xff", "UTF-8")

    def test_what_does_not_occur(self):
        applied = encode([5, "a"])[1:]
        for item, why in (("a0", "map"), ("c001", "tag"), ("f90000", "float"), ("f7", "simple"), ("1f", "definite")):
            self.refuse(b"\x83" + applied + bytes.fromhex(item), why)
        self.refuse(b"\x9f" + applied + b"\x01\xff", "definite")
        self.refuse(b"\x83\x05\x61\xff\x01", "UTF-8")
        self.refuse(b"\x80", "empty")
        self.refuse(b"\x9b" + b"\xff" * 8, "longer than the message")

    def test_a_longer_form_of_a_number_is_read_unless_it_is_looked_for(self):
        longer = b"\x83\x05\x61a\x19\x00\x01"
        self.assertEqual(frames.decode(longer), {"frame": "applied", "scope": "a", "seq": 1})
        with self.assertRaisesRegex(Unreadable, "shortest"):
            frames.decode(longer, shortest=True)

    def test_what_is_beyond_a_limit(self):
        self.refuse(encode([5, "", 1]), "0 bytes")
        self.refuse(encode([5, "a" * 65, 1]), "65 bytes")
        self.refuse(encode([5, "a\x85", 1]), "control")
        self.refuse(encode([5, "a", 1, bytes(frames.FRAME_BYTES_MAX)]), "longer than a frame of its kind")
        self.refuse(encode([6, "a", 0, bytes(frames.RECONCILE_BYTES_MAX + 1)]), "32769 bytes")
        self.refuse(encode([9, ["c", "", ""], 2**32]), "more than")
        self.refuse(encode([3, 1, 0, None, [2**60], [1]]), "more documents")
        self.refuse(encode([3, 1, 0, None, [1], [2**60]]), "more changes")
        frames.decode(encode([3, 1, 0, None, [0] * 65, [0] * 200]))
        self.refuse(encode([3, 1, 0, None, [0] * 66, [1]]), "66 elements")
        self.refuse(encode([3, 1, 0, None, [1], [0] * 201]), "201 elements")
        self.refuse(encode([3, 1, -(2**63) - 1, None, [1], [1]]), "64 bits")
        self.refuse(encode([20, bytes(32), 1, 0, bytes(frames.SLICE_BYTES_MAX + 1)]), "17089 bytes")
        frames.decode(encode([16, bytes(32), [0, [1] * frames.CHUNKS_MAX]]))
        self.refuse(encode([16, bytes(32), [0, [frames.CHUNKS_MAX, 1]]]), "more chunks")
        self.refuse(encode([16, bytes(32), [0, [2**64 - 1, 1]]]), "more chunks")
        self.refuse(encode([16, bytes(32), [0, [0] * (frames.RUNS_MAX + 1)]]), "2050 elements")
        many = [[n.to_bytes(16, "big"), bytes(32 * 1000)] for n in range(7)]
        self.refuse(encode([7, "a", 1, many]), "neither true")
        self.refuse(encode([7, "a", 1, many]).replace(b"a\x01", b"a\xf5", 1), "too many changes")

    def test_bodies_beyond_a_limit(self):
        def push(documents=1, changes=1, size=1, kind="k", ids=None, devices=0):
            content = [[n, 0, 1, [[bytes(size)]] * changes] for n in range(documents)]
            table = [n.to_bytes(16, "big") for n in range(ids or documents)]
            return encode([2, 1, 0, "a", [0, encode([table, [bytes(16)] * devices, [kind], content])]])

        frames.decode(push(documents=64))
        self.refuse(push(documents=65), "65 elements")
        self.refuse(push(ids=65), "65 elements")
        frames.decode(push(devices=200))
        self.refuse(push(devices=201), "201 elements")
        frames.decode(push(documents=2, changes=100))
        self.refuse(push(documents=3, changes=100), "too many changes")
        frames.decode(push(size=frames.CHANGE_BYTES_MAX))
        self.refuse(push(size=frames.CHANGE_BYTES_MAX + 1), "65537 bytes")
        self.refuse(push(kind="k" * 33), "33 bytes")
        self.refuse(encode([2, 1, 0, "a", [0, encode([[], [], [], [[0, 0, 1, []]]])]]), "beyond the documents")

    def test_a_stream_is_split_at_its_lengths(self):
        applied = encode([5, "a", 1])
        prefixed = len(applied).to_bytes(4, "big") + applied
        found, left = frames.split(prefixed * 2 + prefixed[:-1])
        self.assertEqual((len(found), left), (2, prefixed[:-1]))
        with self.assertRaisesRegex(Unreadable, "beyond that of any frame"):
            frames.split((frames.DOCUMENT_FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
        with self.assertRaisesRegex(Unreadable, "ends too early"):
            frames.split((len(applied) - 1).to_bytes(4, "big") + applied)
        with self.assertRaisesRegex(Unreadable, "something follows"):
            frames.split((len(applied) + 1).to_bytes(4, "big") + applied + b"\0")

    def test_a_key_that_proves_nothing(self):
        order_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
        one, two = (number.to_bytes(32, "little") for number in (1, 2))
        for key, why in ((one, "order"), (bytes(32), "order"), (order_8, "order"), (two, "no point")):
            with self.assertRaisesRegex(Unreadable, why):
                enrolment.public_key(Reader(encode(key)))


class Invitations(unittest.TestCase):
    """The one that `sync-protocol/tests/protocol/enrol.rs` holds the engine to."""

    text = (
        "GRIDBEAT:QUAXM4TFNRQXSLTFPBQW24DMMUXG64THHI2DONBXNZZGK3DBPEXGO4TJMRRGKYLULBAE2TD65YXCRUB4WLN7HX3DTQZ"
        "JBLPGNYMHKXUDZKW6FWHTPPMMARGGYHE2TSCUH4PEZWMAAZGPCYS65NQ2SBYDWJDE77YDT4QWQJIIWNIHUGP3FUEZVFKX67AQYLX"
        "3XCYQCWFXHR5A"
    )

    def test_is_read_in_either_case_and_with_white_space(self):
        read = enrolment.invitation(self.text)
        self.assertEqual((read["relay"], read["server_name"]), ("relay.example.org:4747", "relay.gridbeat"))
        self.assertEqual(read["pins"], [hashlib.sha256(root).digest() for root in (b"present", b"next")])
        self.assertEqual(enrolment.invitation(f" {self.text[:50].lower()}\r\n{self.text[50:]}\n"), read)

    def test_a_slip_is_noticed(self):
        for wrong in (self.text[:-1], self.text.replace("X", "Y", 1), self.text[9:], "GRIDBEAT:", self.text + "A"):
            with self.assertRaises(Unreadable):
                enrolment.invitation(wrong)
