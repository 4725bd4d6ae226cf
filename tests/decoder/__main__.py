"""Says what a vector says, for the file beside it, and its line for `mutants.txt`, on standard error.

    python3 -m decoder frame ../sync-protocol/vectors/NAME.hex > ../sync-protocol/vectors/NAME.json
"""

import sys
from pathlib import Path

from . import meaning, vectors

if len(sys.argv) != 3 or sys.argv[1] not in meaning.WHATS:
    sys.exit(__doc__ + f"\nThe first word is one of {', '.join(meaning.WHATS)}.")
what, path = sys.argv[1], Path(sys.argv[2])
print(meaning.text(meaning.of_message(vectors.data(path), what)), end="")
if vectors.has_fate(path):
    print(path.name, meaning.fate_of_mutants(vectors.data(path), what), file=sys.stderr)
