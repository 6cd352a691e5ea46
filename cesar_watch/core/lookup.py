"""The ledger asked by paths: which jobs a file in one of the rooms belongs to. Newest jobs first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peewee import fn
from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core.database import fetch
from cesar_watch.core.job import Job, State
from cesar_watch.core.tables import WHOLE_ROW, JobRow, to_job


class Lookup:
    """Only reads; safe to use from any thread."""

    def __init__(self, path: Path, database: APSWDatabase) -> None:
        self._path = path
        self._database = database

    def dropped_as(self, subfolder: bytes, name: bytes) -> list[Job]:
        """Return the jobs of recordings that were dropped there in the inbox."""
        return self._jobs(JobRow.subfolder == subfolder, JobRow.name == name)

    def lying_at(self, paths: Sequence[bytes]) -> list[Job]:
        """Return the jobs whose recording lies, or is about to lie, at one of these paths below the root."""
        return self._jobs(JobRow.source.in_(paths) | JobRow.moving_to.in_(paths))

    def with_output(self, subfolder: bytes, name: str) -> list[Job]:
        """Return the jobs with an output, or the sidecar, of this name in that folder of the outbox."""
        begins = fn.SUBSTR(name, 1, fn.LENGTH(JobRow.base)) == JobRow.base
        found = self._jobs(JobRow.subfolder == subfolder, begins)
        return [job for job in found if name in (*job.outputs, f"{job.base}.status.json")]

    def _jobs(self, *conditions: Any) -> list[Job]:
        query = JobRow.select(WHOLE_ROW).where(JobRow.state != State.CLAIMING, *conditions)
        return fetch(self._path, self._database, query.order_by(JobRow.seq.desc()), to_job)
