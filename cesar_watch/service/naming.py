"""Which output names a recording may have: portable, and free in the outbox."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cesar_watch.core.spool import Spool
from cesar_watch.delivery.names import base_key, is_taken, output_bases


def free_bases(spool: Spool, name: bytes, subfolder: bytes, formats: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (base, key) pairs, best first, whose files nobody has in the outbox.

    The ledger then picks the first whose key no other job has reserved.
    """
    folder = spool.outbox / os.fsdecode(subfolder)
    for base in output_bases(name):
        if not is_taken(folder, base, formats):
            yield base, base_key(base)
