"""The frames of sections 2.4 and 5 as named values: `decode` reads one, from all of its bytes."""

import hashlib

import zstandard

from . import chunks
from .cbor import Reader, Unreadable
from .shapes import Optional, array, blob, boolean, choice, fixed, integer, nullable, record
from .shapes import side_by_side, text, uint, within, wrapped

# 7.1
FRAME_BYTES_MAX = 262144
DOCUMENT_FRAME_BYTES_MAX = 2097152
PACK_UNPACKED_BYTES_MAX = 4194304
CHANGE_BYTES_MAX = 65536
PUSH_DOCUMENTS_MAX = 64
PUSH_CHANGES_MAX = 200
FEED_ENTRIES_MAX = 1000
SNAPSHOT_DOCUMENTS_MAX = 1000
DOCUMENT_FRAME_CHANGES_MAX = 10000
SCOPES_MAX = 1024
KIND_BYTES_MAX = 32
REASON_CODE_BYTES_MAX = 64
REASON_TEXT_BYTES_MAX = 512
RECONCILE_BYTES_MAX = 32768
COMPARE_DOCUMENTS_MAX = 200
COMPARE_CHANGES_MAX = 6000
REMOVAL_BYTES_MAX = 512
BLOB_BYTES_MAX = 33554432
SLICE_BYTES_MAX = 17088
SIGHTINGS_MAX = 256
SIGHTINGS_MOVED_MAX = 12

CHUNK_BYTES = 16384  # 4.19

CHUNKS_MAX, RUNS_MAX = 2048, 2049  # 4.18

WINDOW_BYTES_MAX = 4 << 20  # 5.1
READ, VERBS = 0b1, 0b111_1111  # 3.4

# 2.4
version = uint(65535)
schema = uint(65535)
scope = text(64, least=1, controls=False)
identity = fixed(16)
incarnation = fixed(16)
digest = fixed(16)
hash_of_32 = fixed(32)
hashes = side_by_side(32)
batch_mark = fixed(20)
signature = fixed(64)
seconds = uint(2**32 - 1)
time = integer


def suite(reader):
    number = reader.uint()
    if number != 1:
        raise Unreadable(f"suite {number} is unknown")
    return number


reason = record(
    code=text(REASON_CODE_BYTES_MAX),
    en=text(REASON_TEXT_BYTES_MAX),
    zh=text(REASON_TEXT_BYTES_MAX),
)


chunk_of = uint(2**32 - 1)


def chunks_kept(reader):
    """Runs of chunks that are kept and that are not, in turn (4.18): whether each is."""
    lengths = array(uint(), RUNS_MAX)(reader)
    if sum(lengths) > CHUNKS_MAX:
        raise Unreadable("more chunks than the largest blob has")
    return runs(lengths, True)


def runs(lengths, first):
    """Spells runs out whose value is `first`, then the other one, and so on in turn."""
    return [first ^ (index % 2 == 1) for index, length in enumerate(lengths) for _ in range(length)]


OFFER_ANSWERS = {
    0: ("wanted", {"kept": chunks_kept}),
    1: ("complete", {}),
    2: ("prove", {"nonce": fixed(32)}),
    3: ("refused", {"reason": reason}),
}


def standing(reader):
    number = reader.uint(5)
    return {"grant": ("none", "read", "write")[number // 2], "digest_agrees": number % 2 == 1}


VERDICTS = {
    1: ("known", {"count": uint()}),
    2: ("incomplete", {"count": uint()}),
    3: ("refused", {"count": uint(), "reason": reason}),
}


def verdicts(reader):
    """A run of equal verdicts; one of accepted changes is a bare number."""
    if reader.data[reader.at : reader.at + 1] < b"\x80":
        return {"verdict": "accepted", "count": reader.uint()}
    return choice("verdict", VERDICTS)(reader)


PLAIN, PACKED = {"body": blob()}, {"size": uint(), "zstd": blob()}
PACKS = {0: ("plain", PLAIN), 1: ("zstd", PACKED), 2: ("apart", PLAIN), 3: ("apart, zstd", PACKED)}


def pack(reader):
    """Reads a pack and gives its body, and whether its changes are taken apart (5.1, 5.3)."""
    found = choice("pack", PACKS)(reader)
    is_apart = found["pack"].startswith("apart")
    if "body" in found:
        if len(found["body"]) > PACK_UNPACKED_BYTES_MAX:
            raise Unreadable("a body that is too large")
        return found["body"], is_apart
    if found["size"] > PACK_UNPACKED_BYTES_MAX:
        raise Unreadable("a body that is too large when it is unpacked")
    return unpack(found["zstd"], found["size"]), is_apart


def unpack(packed, size):
    """Unpacks one zstd frame byte by byte: a byte gives one block of 128 KiB at most, so that little is too much."""
    try:
        if zstandard.get_frame_parameters(packed).dict_id:
            raise Unreadable("a pack with a dictionary")
        unpacking = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).decompressobj()
        body = bytearray()
        for at in range(len(packed)):
            if unpacking.eof:
                raise Unreadable("something follows the zstd frame")
            body += unpacking.decompress(packed[at : at + 1])
            if len(body) > size:
                raise Unreadable("a pack that holds more than it says")
    except zstandard.ZstdError as error:
        raise Unreadable(f"zstd: {error}") from error
    if not unpacking.eof or len(body) != size:
        raise Unreadable("a pack that holds less than it says")
    return bytes(body)


whole_chunk = blob(CHANGE_BYTES_MAX)


def chunk(reader):
    """A raw change, or the next of those that are taken apart."""
    if reader.together is None or not reader.null():
        return whole_chunk(reader)
    made = reader.together.next()
    if len(made) > CHANGE_BYTES_MAX:
        raise Unreadable(f"{len(made)} bytes, the most is {CHANGE_BYTES_MAX}")
    return made


kind_name = text(KIND_BYTES_MAX)
place = uint()

feed_change = record(author=place, later=integer, chunk=chunk)
feed_changes = array(feed_change, DOCUMENT_FRAME_CHANGES_MAX)

ENTRIES = {
    0: ("change", {"document": place, "change": feed_change}),
    1: ("enters", {"document": place, "kind": place, "schema": schema, "changes": feed_changes}),
    2: ("leaves", {"document": place}),
    3: ("own", {"count": uint()}),
}

push_change = record(chunk=chunk, author=Optional(place))
pushed = record(document=place, kind=place, schema=schema, changes=array(push_change, PUSH_CHANGES_MAX))
held = record(
    kind=place,
    schema=schema,
    heads=hashes,
    lacks=hashes,
    changes=feed_changes,
)
whole = record(document=place, kind=place, schema=schema, changes=feed_changes)
compared_document = record(document=place, held=nullable(held))


def body_of(content, most, changes_most):
    """A body of 5.2 with so many elements and changes; its positions are not yet looked up."""
    def together(reader):
        reader.together = chunks.Together(reader)

    tables = dict(
        documents=array(identity, most),
        devices=array(identity, changes_most),
        kinds=array(kind_name, most),
        content=array(content, most),
    )
    whole, apart = record(**tables), record(apart=together, **tables)

    def read(pack, shortest):
        data, is_apart = pack
        reader = Reader(data, shortest)
        reader.together = None
        body = (apart if is_apart else whole)(reader)
        reader.end()
        if is_apart:
            reader.together.end()
        return body

    return read


push_body = body_of(pushed, PUSH_DOCUMENTS_MAX, PUSH_CHANGES_MAX)
feed_body = body_of(choice("entry", ENTRIES), FEED_ENTRIES_MAX, DOCUMENT_FRAME_CHANGES_MAX)
snapshot_body = body_of(whole, SNAPSHOT_DOCUMENTS_MAX, DOCUMENT_FRAME_CHANGES_MAX)
compared_body = body_of(compared_document, COMPARE_DOCUMENTS_MAX, DOCUMENT_FRAME_CHANGES_MAX)


def at(body, table, position):
    if position >= len(body[table]):
        raise Unreadable(f"position {position} is beyond the {table}")
    return body[table][position]


def look_up_seal(frame):
    """Makes the wall clock of a seal what the batch says (4.11)."""
    if frame["seal"] is not None:
        frame["seal"]["wall"] = wrapped((frame["seal"]["clock"] >> 16) + frame["seal"].pop("apart"))


def name_of(chunk):
    """The name of a change (1.1, 4.11): the SHA-256 of its chunk without the first 8 bytes."""
    return hashlib.sha256(chunk[8:]).digest()


def look_up_push(body):
    changes = 0
    for document in body["content"]:
        document["document"] = at(body, "documents", document["document"])
        document["kind"] = at(body, "kinds", document["kind"])
        changes += len(document["changes"])
        for change in document["changes"]:
            change["hash"] = name_of(change["chunk"])
            if change["author"] is not None:
                change["author"] = at(body, "devices", change["author"])
    if changes > PUSH_CHANGES_MAX:
        raise Unreadable("a push of too many changes")
    return body["content"]


def look_up_received(body, changes):
    """Names the authors, and makes whole times of the differences that the changes of a body have."""
    if len(changes) > DOCUMENT_FRAME_CHANGES_MAX:
        raise Unreadable("a frame of too many changes")
    received = 0
    for change in changes:
        received = wrapped(received + change.pop("later"))
        change["received"] = received
        change["author"] = at(body, "devices", change["author"])


def look_up_feed(body):
    changes = []
    for entry in body["content"]:
        if "document" in entry:
            entry["document"] = at(body, "documents", entry["document"])
        if "kind" in entry:
            entry["kind"] = at(body, "kinds", entry["kind"])
        changes += [entry["change"]] if "change" in entry else entry.get("changes", [])
    look_up_received(body, changes)
    return body["content"]


def look_up_snapshot(body):
    changes = []
    for document in body["content"]:
        document["document"] = at(body, "documents", document["document"])
        document["kind"] = at(body, "kinds", document["kind"])
        changes += document["changes"]
    look_up_received(body, changes)
    return body["content"]


def look_up_compared(body):
    changes = []
    for document in body["content"]:
        document["document"] = at(body, "documents", document["document"])
        found = document["held"]
        if found is not None:
            found["kind"] = at(body, "kinds", found["kind"])
            changes += found["changes"]
    look_up_received(body, changes)
    return body["content"]


snapshot_mark = record(as_of=uint(), mark=uint())
mark = record(
    scope=scope, cursor=uint(), digest=digest, documents=uint(), snapshot=Optional(snapshot_mark)
)
greeting = record(
    scope=scope, standing=standing, head=uint(), verbs=Optional(uint()), snapshot=Optional(uint())
)
seal = record(
    suite=suite,
    batch=uint(),
    clock=uint(),
    apart=integer,
    previous=nullable(batch_mark),
    signature=signature,
)
asked = record(document=identity, changes=hashes)
fix = record(
    device_time=time,
    receiver_time=nullable(time),
    latitude=within(900000000),
    longitude=within(1800000000),
    accuracy=uint(2**32 - 1),
    speed=nullable(uint(2**32 - 1)),
    heading=nullable(uint(359)),
    battery=nullable(uint(100)),
    waiting=nullable(uint()),
)
sighting = record(device=identity, taken=time, seen=nullable(record(exact=boolean, fix=fix)))

# 2.4, in the order of the numbers there
FRAMES = {
    0: ("hello", {
        "newest": version, "oldest": version, "device": identity, "install": fixed(16),
        "incarnation": nullable(incarnation), "clock": uint(), "scopes": array(mark, SCOPES_MAX),
    }),
    1: ("welcome", {
        "version": version, "incarnation": incarnation, "time": time, "scopes": array(greeting, SCOPES_MAX),
        "stable": Optional(nullable(time)),
    }),
    2: ("push", {
        "number": uint(), "after": uint(), "scope": scope, "documents": pack, "seal": Optional(nullable(seal)),
    }),
    3: ("ack", {
        "number": uint(), "received": time, "first": nullable(uint()),
        "attached": array(uint(), PUSH_DOCUMENTS_MAX + 1), "verdicts": array(verdicts, PUSH_CHANGES_MAX),
    }),
    4: ("feed", {
        "scope": scope, "first": uint(), "digest": digest, "head": uint(), "entries": pack,
    }),
    5: ("applied", {"scope": scope, "seq": uint()}),
    6: ("reconcile", {"scope": scope, "seq": uint(), "message": blob(RECONCILE_BYTES_MAX)}),
    7: ("compare", {"scope": scope, "last": boolean, "documents": array(asked, COMPARE_DOCUMENTS_MAX)}),
    8: ("compared", {"scope": scope, "seq": uint(), "digest": digest, "last": boolean, "documents": pack}),
    9: ("close", {"reason": reason, "retry_after_s": seconds}),
    10: ("notice", {"scope": nullable(scope), "seq": uint(), "deadline": time}),
    11: ("removed", {"removal": blob(REMOVAL_BYTES_MAX), "signature": nullable(signature)}),
    12: ("noted", {"removal": hash_of_32}),
    13: ("snapshot", {
        "scope": scope, "number": uint(), "seq": uint(), "digest": digest, "mark": uint(), "last": boolean,
        "documents": pack,
    }),
    14: ("taken", {"scope": scope, "number": uint()}),
    15: ("offer", {"document": identity, "blob": hash_of_32, "size": uint()}),
    16: ("offered", {"blob": hash_of_32, "answer": choice("answer", OFFER_ANSWERS)}),
    17: ("prove", {"blob": hash_of_32, "proof": fixed(32)}),
    18: ("kept", {"blob": hash_of_32, "chunk": chunk_of, "complete": boolean}),
    19: ("get", {"document": identity, "blob": hash_of_32, "first": chunk_of, "count": uint(2**32 - 1)}),
    20: ("part", {"blob": hash_of_32, "size": uint(), "chunk": chunk_of, "slice": blob(SLICE_BYTES_MAX)}),
    21: ("withheld", {"blob": hash_of_32, "reason": reason}),
    22: ("here", {"number": uint(), "age": uint(), "fix": fix}),
    23: ("gone", {"number": uint()}),
    24: ("watch", {"wanted": boolean}),
    25: ("positions", {"now": time, "sightings": array(sighting, SIGHTINGS_MAX)}),
    26: ("moved", {"now": time, "sightings": array(sighting, SIGHTINGS_MOVED_MAX)}),
    27: ("bring", {"document": identity, "blob": hash_of_32, "after": uint(), "bytes": blob(CHUNK_BYTES)}),
}
frame_shape = choice("frame", FRAMES)


def leave_out_no_snapshots(frame):
    """Drops a snapshot that is not there, as readers of earlier versions do."""
    for named in frame["scopes"]:
        if named["snapshot"] is None:
            del named["snapshot"]


def spell_out_welcome(frame):
    for scope_greeting in frame["scopes"]:
        scope_greeting |= scope_greeting.pop("standing")
        if scope_greeting["verbs"]:
            verbs = scope_greeting["verbs"] & VERBS
            scope_greeting["verbs"] = verbs | READ if verbs else 0


def spell_out_ack(frame):
    """Spells the runs of 2.6 out, within the limits of a push."""
    if sum(frame["attached"]) > PUSH_DOCUMENTS_MAX:
        raise Unreadable("an ack of more documents than a push has")
    if sum(run["count"] for run in frame["verdicts"]) > PUSH_CHANGES_MAX:
        raise Unreadable("an ack of more changes than a push has")
    frame["attached"] = runs(frame["attached"], False)
    frame["verdicts"] = [run for run in frame["verdicts"] for _ in range(run.pop("count"))]


def decode(data, shortest=False):
    """Reads one frame; `shortest` refuses longer forms of numbers, which a sender should not make (2.1)."""
    if len(data) > DOCUMENT_FRAME_BYTES_MAX:
        raise Unreadable("longer than any frame")
    reader = Reader(data, shortest)
    frame = frame_shape(reader)
    reader.end()
    name = frame["frame"]
    if len(data) > FRAME_BYTES_MAX and name not in ("feed", "compared", "snapshot"):
        raise Unreadable("longer than a frame of its kind")
    if name in ("hello", "welcome"):
        leave_out_no_snapshots(frame)
    if name == "welcome":
        spell_out_welcome(frame)
    elif name == "snapshot":
        frame["documents"] = look_up_snapshot(snapshot_body(frame["documents"], shortest))
    elif name == "push":
        frame["documents"] = look_up_push(push_body(frame["documents"], shortest))
        look_up_seal(frame)
    elif name == "ack":
        spell_out_ack(frame)
    elif name == "feed":
        frame["entries"] = look_up_feed(feed_body(frame["entries"], shortest))
    elif name == "compare":
        if sum(len(document["changes"]) for document in frame["documents"]) > COMPARE_CHANGES_MAX:
            raise Unreadable("a comparison of too many changes")
    elif name == "compared":
        frame["documents"] = look_up_compared(compared_body(frame["documents"], shortest))
    return frame


def split(stream):
    """The frames of a control stream, each behind its length (6.2), and what is left of the stream."""
    found = []
    while len(stream) >= 4:
        length = int.from_bytes(stream[:4], "big")
        if length > DOCUMENT_FRAME_BYTES_MAX:
            raise Unreadable("a length beyond that of any frame")
        if len(stream) < 4 + length:
            break
        found.append(decode(stream[4 : 4 + length]))
        stream = stream[4 + length :]
    return found, stream
