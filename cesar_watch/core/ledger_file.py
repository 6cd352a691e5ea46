"""The ledger's files as bytes: what they tell before SQLite touches them, and how they are set aside.

SQLite passes over a -wal whose header it can't read, and takes away one beside an empty database, without
a word: commits would be forgotten. So both are looked for here first (sqlite.org/fileformat2.html, sections
1.3 and 4.1).
"""

from __future__ import annotations

import itertools
import os
import struct
from datetime import UTC, datetime
from pathlib import Path

from cesar_watch.core.durable import rename_noreplace, sync_dir

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_WAL_HEADER_BYTES = 32
_WAL_FRAME_HEADER_BYTES = 24
_WAL_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}
"""The first four bytes of a -wal, big-endian, and the byte order of its checksums that each stands for."""
_ENDINGS = ("", "-journal", "-wal", "-shm")
"""The ledger itself, then what SQLite lays beside it."""


def application_id(path: Path) -> int | None:
    """Return whose SQLite database this says it is, 0 for nobody's; None when it is missing, empty or no database.

    What is still in the -wal is not looked at.
    """
    header = _head(path, _HEADER_BYTES)
    return int(struct.unpack_from(">I", header, 68)[0]) if _is_database(header) else None


def damage(path: Path) -> str | None:
    """Say what is wrong with the ledger's files as far as bytes tell; None: SQLite may open them.

    Raises:
        OSError: They can't be read.
    """
    header = _head(path, _HEADER_BYTES)
    if not header:
        stray = [ending for ending in ("-wal", "-shm") if os.path.lexists(f"{path}{ending}")]
        return f"its {' and '.join(stray)} lie there without it" if stray else None
    if not _is_database(header):
        return "it is not a database"
    wal = _head(Path(f"{path}-wal"), _WAL_HEADER_BYTES)
    # A shorter header, or one of zeros, was never synced: nothing behind it was committed.
    if len(wal) == _WAL_HEADER_BYTES and any(wal) and not _is_wal(wal):
        return "its -wal is garbage"
    return None if _holds_frames(Path(f"{path}-wal")) else _truncation(header, path.stat().st_size)


def _is_database(header: bytes) -> bool:
    return len(header) == _HEADER_BYTES and header.startswith(_MAGIC)


def _truncation(header: bytes, size_bytes: int) -> str | None:
    """Compare the size in the header with that of the file; only where no -wal may still hold pages."""
    page_bytes = struct.unpack_from(">H", header, 16)[0]
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    if page_bytes < 512 or page_bytes & (page_bytes - 1):
        return "its header is damaged"
    changed, pages = struct.unpack_from(">II", header, 24)
    is_size_known = struct.unpack_from(">I", header, 92)[0] == changed
    if size_bytes % page_bytes or (is_size_known and pages * page_bytes > size_bytes):
        return "it is truncated"
    return None


def _is_wal(header: bytes) -> bool:
    order = _WAL_MAGICS.get(struct.unpack_from(">I", header)[0])
    if order is None:
        return False
    first = second = 0
    for left, right in struct.iter_unpack(f"{order}II", header[:24]):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return struct.unpack_from(">II", header, 24) == (first, second)


def _holds_frames(wal: Path) -> bool:
    return wal.exists() and wal.stat().st_size > _WAL_HEADER_BYTES + _WAL_FRAME_HEADER_BYTES


def _head(path: Path, size_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size_bytes)
    except FileNotFoundError:
        return b""


def has_content(path: Path, ending: str = "") -> bool:
    """Whether the ledger, or its -wal or -shm, is there and not empty."""
    companion = Path(f"{path}{ending}")
    return companion.exists() and companion.stat().st_size > 0


def set_aside(path: Path, why: str, now: datetime) -> Path | None:
    """Give the ledger's files another name beside it, durably; return the name, None where there was no ledger.

    The ledger goes first: a crash behind that leaves companions without it, which `damage` finds at the
    next start. In the other order what is left would pass for a whole ledger, and lack its last commits.

    Raises:
        OSError: The folder can't be written; what had been moved stays so, and a repeat goes on.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (f"{path}.{why}-{stamp}{number}" for number in numbers)
    kept = next(name for name in names if not any(os.path.lexists(name + ending) for ending in _ENDINGS))
    moved = [ending for ending in _ENDINGS if os.path.lexists(f"{path}{ending}")]
    for ending in moved:
        rename_noreplace(Path(f"{path}{ending}"), Path(kept + ending))
        sync_dir(path.parent)
    return Path(kept) if moved else None
