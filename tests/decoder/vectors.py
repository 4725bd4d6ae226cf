"""The golden vectors, found by listing their folder, and what is on record of them."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "sync-protocol" / "vectors"
DOCUMENT = ROOT / "sync-protocol" / "PROTOCOL.md"
FATES = ROOT / "sync-protocol" / "tests" / "protocol" / "mutants.txt"


def paths():
    return sorted(FOLDER.glob("*.hex"))


def data(path):
    """The bytes of a vector; lines that begin with `#` are words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def said(path):
    """What the file beside a vector says that it says."""
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def has_fate(path):
    """Whether the fate of its mutants is on record: what zstd refuses differs by its release."""
    return "-zstd." not in path.name


def fates():
    """The lines of `mutants.txt`, by the names of the vectors."""
    return dict(line.split(" ", 1) for line in FATES.read_text(encoding="utf-8").splitlines())
