"""Which of the mutating calls of a life leave the files in a state of their own.

A call is `NUMBER NAME PATH [-> PATH]`, as the preloaded library tells it; numbers begin with 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cesar_watch.core.durable import TEMPORARY_PREFIX
from tests.faults.preload import Action

SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range")


def states(calls: Sequence[str]) -> list[tuple[int, Action]]:
    """Return one point for each state of the files: the state before the first call, and behind each that changes them.

    A kill leaves the same before a sync and after it. SQLite's index of the -wal is made anew by whoever opens the
    ledger first, and of a transaction in the -wal nothing counts before its last frame: its first write and its last
    stand for all between them. A temporary file is swept, empty or not; once renamed it has no name to unlink.
    """
    points = [(1, Action.KILL_BEFORE)]
    for at, (before, call, after) in enumerate(_with_neighbours(calls), 1):
        name, path = call.split(" ", 1)
        is_opened = name == "open64" and f"/{TEMPORARY_PREFIX}" in path and after == f"write {path}"
        is_gone = name == "unlink" and before.startswith("rename") and f" {path} -> " in before
        is_same = is_opened or is_gone or _is_within_transaction(before, call, after)
        if name not in SYNCS and not path.endswith("-shm") and not is_same:
            points.append((at, Action.KILL_AFTER))
    return points


def outside_of_transactions(calls: Sequence[str]) -> list[int]:
    """Return the numbers of the calls; of a transaction's writes to the -wal only the first and the last."""
    return [at for at, near in enumerate(_with_neighbours(calls), 1) if not _is_within_transaction(*near)]


def _with_neighbours(calls: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each call between those before and after it, without their numbers; "" where there is none."""
    named = ["", *(call.split(" ", 1)[1] for call in calls), ""]
    return zip(named, named[1:], named[2:], strict=False)


def _is_within_transaction(before: str, call: str, after: str) -> bool:
    """Whether the call is neither the first nor the last of several writes to the -wal in a row."""
    return before == call == after and call.endswith("-wal")
