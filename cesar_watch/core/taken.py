"""Which sources in an inbox of somebody else's have been copied: the ledger's part of transcribing nothing twice.

Entries are kept for good, also those of sources that are gone: a disk that comes back after a year must not be
transcribed again, and a hundred thousand of them are some 25 MB.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peewee import Expression
from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core.database import fetch, ledger_faults
from cesar_watch.core.job import FileIdentity, Job, signed
from cesar_watch.core.tables import TakenRow


@dataclass(frozen=True)
class Stamp:
    """Which file a source is, and in which state: its identity, and the time of the last change of anything about it.

    A `ctime_ns` of 0 is that of no file: then its content is looked at once more.
    """

    identity: FileIdentity
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        """Take the stamp out of a stat result."""
        return cls(FileIdentity.of(stat), stat.st_ctime_ns)

    @property
    def without_device(self) -> tuple[int, int, int, int]:
        """What stays the same from mount to mount; a mount may get another device number each time."""
        return self.identity.inode, self.identity.size_bytes, self.identity.mtime_ns, self.ctime_ns


def mark(path: bytes, stat: os.stat_result) -> int:
    """Return a number for a source and `Stamp.without_device`; two share one by a chance of one in 2 to the 60.

    A hundred thousand numbers take up a tenth of what as many stamps do, and one is made in a microsecond.
    """
    return hash((path, signed(stat.st_ino), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@dataclass(frozen=True)
class Taken:
    """One source as it was when it was copied, or last seen to hold the same. `path` is relative to the inbox."""

    path: bytes
    stamp: Stamp
    sha256: str
    job_id: str

    @classmethod
    def by(cls, job: Job, stamp: Stamp, sha256: str) -> Taken:
        """Return the entry for the source that a job was copied from."""
        return cls(os.path.join(job.subfolder, job.name), stamp, sha256, job.job_id)


class TakenSources:
    """The table of taken sources in an open ledger. Safe to call from any thread."""

    def __init__(self, path: Path, database: APSWDatabase) -> None:
        self._path = path
        self._database = database

    def add(self, taken: Taken) -> None:
        """Note in the transaction that is open that a source was taken, in place of what was known of its path."""
        seen = taken.stamp.identity
        row: dict[str, Any] = {"path": taken.path, "sha256": taken.sha256, "job_id": taken.job_id}
        row |= {"device": seen.device, "inode": seen.inode, "size_bytes": seen.size_bytes}
        row |= {"mtime_ns": seen.mtime_ns, "ctime_ns": taken.stamp.ctime_ns}
        TakenRow.insert(row).on_conflict_replace().execute(self._database)

    def recognise(self, known: Taken, path: bytes, stamp: Stamp) -> None:
        """Note that a source is still, or again, the one that was taken: under this name, and as it looks now."""
        with ledger_faults(self._path), self._database.atomic("IMMEDIATE"):
            TakenRow.delete().where(TakenRow.path == known.path).execute(self._database)
            self.add(Taken(path, stamp, known.sha256, known.job_id))

    def marks(self) -> set[int]:
        """Return what `mark` gives for every source, as long as it stays as it was."""
        state = (TakenRow.inode, TakenRow.size_bytes, TakenRow.mtime_ns, TakenRow.ctime_ns)
        query = TakenRow.select(TakenRow.path, *state).tuples()
        with ledger_faults(self._path):
            return {hash((bytes(path), *state)) for path, *state in query.execute(self._database).iterator()}

    def of_size(self, size_bytes: int) -> list[Taken]:
        """Return the sources that were of this size: no other can have the same content."""
        return self._all(TakenRow.size_bytes == size_bytes)

    def of_job(self, job_id: str) -> Taken | None:
        """Return the source that a job was copied from, under the name that it was last seen with."""
        return next(iter(self._all(TakenRow.job_id == job_id)), None)

    def _all(self, which: Expression) -> list[Taken]:
        query = TakenRow.select().where(which)
        return fetch(
            self._path,
            self._database,
            query,
            lambda row: Taken(
                bytes(row["path"]),
                Stamp(FileIdentity(row["device"], row["inode"], row["size_bytes"], row["mtime_ns"]), row["ctime_ns"]),
                str(row["sha256"]),
                str(row["job_id"]),
            ),
        )
