"""The ledger's part of being made from the folders: what it knows of their places, and everything new at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core import schema
from cesar_watch.core.database import fetch, ledger_faults
from cesar_watch.core.job import Event, FileIdentity, Job, State
from cesar_watch.core.tables import JobRow, MetaRow, TransitionRow, to_columns
from cesar_watch.core.taken import Stamp, Taken, TakenSources

ADOPTED_AT = "adopted_at"
"""The meta row that says when the folders were last adopted; without it the ledger counts as new."""


class Place(NamedTuple):
    """Where a job stands, and the place in the outbox that is reserved for it."""

    state: State
    subfolder: bytes
    base: str
    base_key: str


class Rebuild:
    """Only for the owner of the instance lock, while no actor runs."""

    def __init__(self, path: Path, database: APSWDatabase) -> None:
        self._path = path
        self._database = database
        self._taken = TakenSources(path, database)

    @property
    def is_needed(self) -> bool:
        """Whether nobody has told this ledger yet, to the end, what the folders hold."""
        with ledger_faults(self._path):
            return schema.meta(self._database, ADOPTED_AT) is None

    def places(self) -> dict[str, Place]:
        """Return the place of every job, by its id."""
        query = JobRow.select(JobRow.job_id, JobRow.state, JobRow.subfolder, JobRow.base, JobRow.base_key)
        rows = fetch(
            self._path,
            self._database,
            query,
            lambda row: (
                str(row["job_id"]),
                Place(State(row["state"]), bytes(row["subfolder"]), row["base"], row["base_key"]),
            ),
        )
        return dict(rows)

    def restore(self, found: Sequence[tuple[Job, str]], now: datetime) -> None:
        """Add jobs that folders and sidecars tell of, in this order, and correct known ones: all or nothing.

        From then on the ledger does not count as new.

        Args:
            found: Each job with the key of its base. One that has a `seq` is known and is corrected.
        """
        with ledger_faults(self._path), self._database.atomic("IMMEDIATE"):
            for job, key in found:
                row = to_columns({**vars(job), "base_key": key})
                seq = row.pop("seq")
                before = State.CLAIMING
                if seq:
                    before = JobRow.select(JobRow.state).where(JobRow.seq == seq).scalar(self._database)
                    JobRow.update(**row).where(JobRow.seq == seq).execute(self._database)
                else:
                    JobRow.insert(**row).execute(self._database)
                    self._remember_source(job)
                if seq or job.state is State.PENDING:
                    self._log_adopted(job, before, now)
            done = MetaRow.insert(key=ADOPTED_AT, value=now.isoformat())
            done.on_conflict("REPLACE").execute(self._database)
        with ledger_faults(self._path):
            self._database.execute_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def _remember_source(self, job: Job) -> None:
        """Note what the job was copied from, as far as it tells; its source is known again by its content."""
        if job.is_copied and job.sha256 is not None:
            unseen = Stamp(FileIdentity(0, 0, job.identity.size_bytes, 0), 0)
            self._taken.add(Taken.by(job, unseen, job.sha256))

    def _log_adopted(self, job: Job, before: State, now: datetime) -> None:
        TransitionRow.insert(
            job_id=job.job_id,
            event=Event.CLAIMED,
            from_state=before,
            to_state=job.state,
            attempt=job.attempts,
            at=now.timestamp(),
            reason="adopted",
        ).execute(self._database)
