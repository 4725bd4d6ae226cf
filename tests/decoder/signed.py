"""What is signed: batches (4.11), removals (4.13) and requests to enrol (10.3)."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .cbor import Reader, Unreadable, encode
from .frames import digest, identity, incarnation, scope, suite, time
from .shapes import fixed, nullable, record, uint

REMOVAL_HEAD = b"gridbeat removed\0"

removal_shape = record(
    suite=suite,
    device=identity,
    install=fixed(16),
    scope=nullable(scope),
    incarnation=nullable(incarnation),
    seq=uint(),
    digest=digest,
    documents=uint(),
    removed=uint(),
    kept=uint(),
    at=time,
)


def is_signed(key, signature, statement):
    """Whether a signature of suite 1 (2.4) is the key's over these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, statement)
    except InvalidSignature:
        return False
    return True


def batch_statement(push, device, install):
    """The bytes that the seal of a push is over."""
    seal = push["seal"]
    documents = [
        [document["document"], document["kind"], document["schema"], [named(change) for change in document["changes"]]]
        for document in push["documents"]
    ]
    stamp = [seal["batch"], seal["clock"], seal["wall"], seal["previous"]]
    statement = [seal["suite"], device, install, *stamp, push["scope"], documents]
    return b"gridbeat batch\0" + encode(statement)


def named(change):
    return [change["hash"], change["author"]] if change["author"] is not None else change["hash"]


def removal_statement(data):
    """Reads the statement inside of a `removed` frame."""
    if not data.startswith(REMOVAL_HEAD):
        raise Unreadable("no statement of a removal")
    reader = Reader(data[len(REMOVAL_HEAD) :])
    removal = removal_shape(reader)
    reader.end()
    return removal


def enrol_statement(redeem):
    """The bytes that a request to enrol is signed over."""
    request = redeem["key_request"]
    signed = [request["suite"], request["key"], redeem["code"], redeem["install"], redeem["name"]]
    return b"gridbeat enrol\0\0" + encode(signed)
