"""Section 10: the messages of `gridbeat-enrol/1`, and invitations."""

import base64
import hashlib

from .cbor import Reader, Unreadable
from .frames import identity, reason, seconds, signature, suite, time
from .shapes import array, blob, choice, fixed, nullable, record, side_by_side, text, uint

# 7.1
ENROL_REQUEST_BYTES_MAX = 512
ENROL_ANSWER_BYTES_MAX = 16384
CERTIFICATE_BYTES_MAX = 2048
CERTIFICATES_MAX = 3
PINS_MAX = 2
SERVER_NAME_BYTES_MAX = 253
DEVICE_NAME_BYTES_MAX = 64
INVITATION_BYTES_MAX = 300

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def public_key(reader):
    """A point of the curve that is not of small order (2.4): for such a one anybody could sign."""
    key = fixed(32)(reader)
    y = int.from_bytes(key, "little") % 2**255 % P
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    if pow(x_squared, (P - 1) // 2, P) not in (0, 1):
        raise Unreadable("a key that is no point")
    # Doubled three times, such a point is the neutral one; y alone follows this.
    for _ in range(3):
        x_squared, y = doubled(x_squared, y)
    if y == 1:
        raise Unreadable("a key of small order")
    return key


def doubled(x_squared, y):
    """The doubling formula of RFC 8032, 5.1.4, by what it does to x² and y."""
    product = D * x_squared * y * y % P
    x = 4 * x_squared * y * y * pow(1 + product, -2, P) % P
    return x, (y * y + x_squared) * pow(1 - product, -1, P) % P


certificate = blob(CERTIFICATE_BYTES_MAX)
server_name = text(SERVER_NAME_BYTES_MAX)
code = fixed(16)
key_request = record(suite=suite, key=public_key, signature=signature)

REQUESTS = {
    0: ("redeem", {
        "code": code, "key_request": key_request, "install": fixed(16),
        "name": text(DEVICE_NAME_BYTES_MAX, controls=False),
    }),
    1: ("renew", {}),
}
ANSWERS = {
    0: ("waiting", {"fingerprint": uint(999_999), "retry_after_s": seconds}),
    1: ("issued", {
        "device": identity, "server_name": server_name,
        "pins": array(certificate, PINS_MAX, least=1),
        "certificates": array(certificate, CERTIFICATES_MAX, least=1),
        "issued": time, "renew_after": time, "not_after": time,
    }),
    2: ("refused", {"reason": reason, "retry_after_s": nullable(seconds)}),
}
INVITATIONS = {
    1: ("1", {"relay": text(INVITATION_BYTES_MAX), "server_name": server_name, "pins": side_by_side(32), "code": code}),
}


def decode(data, what, shortest=False):
    """Reads a message; `what` is "request" or "answer": the bytes do not say."""
    kinds, most = {
        "request": (REQUESTS, ENROL_REQUEST_BYTES_MAX),
        "answer": (ANSWERS, ENROL_ANSWER_BYTES_MAX),
    }[what]
    if len(data) > most:
        raise Unreadable("longer than a message of enrolment")
    reader = Reader(data, shortest)
    message = choice(what, kinds)(reader)
    reader.end()
    return message


def fingerprint(key):
    """10.4: what people compare."""
    digest = hashlib.sha256(b"gridbeat fingerprint\0" + key).digest()
    return int.from_bytes(digest[:8], "big") % 1_000_000


def invitation(line):
    """10.1: reads the text of an invitation."""
    letters = "".join(line.split()).upper()
    if len(letters) > INVITATION_BYTES_MAX or not letters.startswith("GRIDBEAT:"):
        raise Unreadable("no invitation")
    letters = letters.removeprefix("GRIDBEAT:")
    try:
        data = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError as error:
        raise Unreadable("no base 32") from error
    body, check = data[:-4], data[-4:]
    if hashlib.sha256(body).digest()[:4] != check:
        raise Unreadable("a damaged invitation")
    reader = Reader(body)
    read = choice("invitation", INVITATIONS)(reader)
    reader.end()
    if not 1 <= len(read["pins"]) <= PINS_MAX:
        raise Unreadable("not one or two pins")
    return read
