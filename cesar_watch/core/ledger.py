"""The ledger: every job, every change of its state, every notice; peewee on SQLite.

Every change of state is a compare-and-set on (job, state, lease), allowed by the table in
`core/job.py`, logged in `transitions`, and committed together with its notices. Methods are safe
to call from any thread and are never called while a rename or a decode is under way. Each returns
after the commit is durable (`synchronous=FULL`).
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from peewee import fn

from cesar_watch.core.adoptions import Adoptions
from cesar_watch.core.database import ask, fetch, ledger_faults, open_owned, open_reading, open_visiting
from cesar_watch.core.errors import LeaseLost, LedgerError, UsageError
from cesar_watch.core.job import LEVELS_S, NO_DUPLICATE, UNFINISHED, Event, FileIdentity, Job, Request, State, advance
from cesar_watch.core.lookup import Lookup
from cesar_watch.core.notice import Notice
from cesar_watch.core.notice_queue import NoticeQueue
from cesar_watch.core.rebuild import Rebuild
from cesar_watch.core.tables import (
    IS_DUE,
    WHOLE_ROW,
    JobRow,
    MetaRow,
    NoticeRow,
    TransitionRow,
    due_by,
    to_columns,
    to_job,
)
from cesar_watch.core.taken import Taken, TakenSources


@dataclass(frozen=True)
class Intent:
    """What is known of a recording before it is claimed."""

    job_id: str
    name: bytes
    subfolder: bytes
    source: bytes
    moving_to: bytes
    identity: FileIdentity
    options: dict[str, Any]


class Ledger:
    """One open ledger."""

    def __init__(self, path: Path, spool_id: str, *, owner: bool = False, reading: bool = False) -> None:
        """Open the ledger of a spool.

        Args:
            owner: The caller holds the instance lock: a missing ledger is made, one of an older version converted,
                a damaged one told from a whole one.
            reading: Only to be looked at, and nothing on the disk is to change; `is_snapshot` then says whether
                only the last checkpoint could be read.

        Raises:
            LedgerError: It can't be used; nothing was changed.
        """
        self.path = path
        self.is_snapshot = False
        if owner:
            self._database = open_owned(path, spool_id)
        elif reading:
            self._database, self.is_snapshot = open_reading(path, spool_id)
        else:
            self._database = open_visiting(path, spool_id)
        self._is_owner = owner
        self.notices = NoticeQueue(path, self._database)
        self.rebuild = Rebuild(path, self._database)
        self.lookup = Lookup(path, self._database)
        self.taken = TakenSources(path, self._database)
        self.adoptions = Adoptions(path, self._database)

    def close(self) -> None:
        """Close the calling thread's connection; the owner's writes its -wal back first, as far as nobody reads it."""
        if self._is_owner:
            with contextlib.suppress(LedgerError), ledger_faults(self.path):
                self._database.execute_sql("PRAGMA wal_checkpoint(PASSIVE)")
        with ledger_faults(self.path):
            self._database.close()

    def prove(self, now: datetime) -> None:
        """See that the ledger takes a commit, by making one.

        Raises:
            LedgerError: It doesn't; nothing was changed.
        """
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            proof = MetaRow.insert(key="proved_at", value=str(now.timestamp()))
            proof.on_conflict_replace().execute(self._database)

    # --- claiming -------------------------------------------------------------------------

    def log_intent(
        self,
        intent: Intent,
        bases: Iterable[tuple[str, str]],
        now: datetime,
        *,
        state: State = State.CLAIMING,
        **changes: Any,
    ) -> Job:
        """Add a job that is about to be claimed, and reserve its output base.

        Args:
            bases: Candidates (base, key), best first; the first whose key nobody in the same
                subfolder has is taken. The iterable must not end before one is free.
            state: Another one only when a job is restored from its sidecar, with `changes` to go with it.
        """
        columns = to_columns({**vars(intent), "created_at": now, "updated_at": now, **changes, "state": state})
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            base, key = self._free_base(intent.subfolder, bases)
            JobRow.insert(base=base, base_key=key, **columns).execute(self._database)
        return self.get(intent.job_id)

    def _free_base(self, subfolder: bytes, bases: Iterable[tuple[str, str]]) -> tuple[str, str]:
        for base, key in bases:
            taken = JobRow.select(fn.COUNT("*")).where(JobRow.subfolder == subfolder, JobRow.base_key == key)
            if not taken.scalar(self._database):
                return base, key
        raise ValueError("no candidate for an output base was free")

    def reserve_base(self, job: Job, bases: Iterable[tuple[str, str]]) -> Job:
        """Give a job another output base, because somebody else's file took its name in the outbox."""
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            base, key = self._free_base(job.subfolder, bases)
            JobRow.update(base=base, base_key=key).where(JobRow.seq == job.seq).execute(self._database)
        return self.get(job.job_id)

    def withdraw(self, job: Job) -> None:
        """Forget a job whose recording was never claimed; its base is free again."""
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            JobRow.delete().where(JobRow.seq == job.seq, JobRow.state == State.CLAIMING).execute(self._database)

    # --- changes of state -------------------------------------------------------------------

    def apply(
        self,
        job: Job,
        event: Event,
        now: datetime,
        *,
        notices: Sequence[Notice] = (),
        taken: Taken | None = None,
        reason: str | None = None,
        **changes: Any,
    ) -> Job:
        """Change a job's state by the table, log it, and store its notices: all or nothing.

        Args:
            taken: The source that the job was copied from, to be remembered in the same commit.
            reason: A stable code for the history, where the event alone does not tell.
            changes: Fields of `Job` to change in the same commit.

        Raises:
            IllegalTransition: The table does not allow it.
            LeaseLost: The job is no longer as it was read; nothing was changed.
        """
        target = advance(job.state, event)
        columns = to_columns({"updated_at": now, **changes, "state": target})
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            self._compare_and_set(job, columns)
            TransitionRow.insert(
                job_id=job.job_id,
                event=event,
                from_state=job.state,
                to_state=target,
                attempt=columns.get("attempts", job.attempts),
                at=now.timestamp(),
                reason=reason,
            ).execute(self._database)
            self.notices.add(notices, now)
            if taken is not None:
                self.taken.add(taken)
            # Read before the commit: afterwards it could be another's lease that comes back.
            return self.get(job.job_id)

    def update(self, job: Job, now: datetime, **changes: Any) -> Job:
        """Change fields of a job without changing its state.

        Raises:
            LeaseLost: The job is no longer as it was read; nothing was changed.
        """
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            self._compare_and_set(job, to_columns({"updated_at": now, **changes}))
            return self.get(job.job_id)

    def _compare_and_set(self, job: Job, columns: Mapping[str, Any]) -> None:
        lease = JobRow.lease.is_null() if job.lease is None else JobRow.lease == job.lease
        query = JobRow.update(**columns).where(JobRow.seq == job.seq, JobRow.state == job.state, lease)
        if query.execute(self._database) != 1:
            raise LeaseLost(f"Job {job.job_id} was changed by somebody else; this attempt ends without a trace.")

    def lease(self, job: Job, lease: str, now: datetime) -> Job | None:
        """Give a pending job to a worker, counting the attempt before any work; None if somebody was faster."""
        with contextlib.suppress(LeaseLost):
            return self.apply(
                job,
                Event.LEASED,
                now,
                lease=lease,
                attempts=job.attempts + 1,
                not_before_at=None,
                error=None,
                message="",
                started_at=job.started_at or now,
                **(NO_DUPLICATE if job.duplicate_of else {}),
            )
        return None

    def next_due(self, now: datetime, longest_wait_s: float = math.inf) -> Job | None:
        """Return the pending job that comes first of those that wait neither for a time nor for a twin.

        Args:
            longest_wait_s: No job is told to wait longer; one that seems to waits for a clock that was set back.
        """
        found = ask(self.path, self._database, _NEXT_DUE, due_by(now, longest_wait_s), to_job)
        return found[0] if found else None

    def forget(self, job: Job) -> None:
        """Remove a job, its history and its notices; its files are the caller's affair."""
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            JobRow.delete().where(JobRow.seq == job.seq).execute(self._database)
            TransitionRow.delete().where(TransitionRow.job_id == job.job_id).execute(self._database)
            NoticeRow.delete().where(NoticeRow.job_id == job.job_id).execute(self._database)

    # --- requests of people -------------------------------------------------------------------

    def ask(self, job: Job, request: Request | None) -> None:
        """Note what a person wants done with a job, or (None) that it has been seen to."""
        with ledger_faults(self.path), self._database.atomic("IMMEDIATE"):
            JobRow.update(request=request).where(JobRow.seq == job.seq).execute(self._database)

    def requested(self) -> list[Job]:
        """Return the jobs that somebody wants something done with, oldest first."""
        return self._all(JobRow.select(WHOLE_ROW).where(JobRow.request.is_null(False)).order_by(JobRow.seq))

    # --- reading --------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Return a job by its whole id.

        Raises:
            UsageError: There is none.
        """
        found = ask(self.path, self._database, _BY_ID, (job_id,), to_job)
        if not found:
            raise UsageError(f"There is no job {job_id}: `cesar-watch jobs` lists them.", reason="no_such_job")
        return found[0]

    def find(self, prefix: str) -> Job:
        """Return the only job whose id begins with `prefix`.

        Raises:
            UsageError: None does, or several do.
        """
        query = JobRow.select(WHOLE_ROW).where(JobRow.job_id.startswith(prefix), JobRow.state != State.CLAIMING)
        found = self._all(query.order_by(JobRow.seq).limit(6))
        if not found or not prefix:
            raise UsageError(f"There is no job {prefix!r}: `cesar-watch jobs` lists them.", reason="no_such_job")
        if len(found) > 1:
            some = ", ".join(job.job_id for job in found[:5])
            raise UsageError(f"Several jobs begin with {prefix!r} ({some}): give more digits.", reason="ambiguous_job")
        return found[0]

    def jobs(
        self, states: Iterable[State] = (), *, newest_first: bool = False, limit: int = 0, skip: int = 0
    ) -> list[Job]:
        """Return jobs in the order they were claimed; no states: all that are shown to the world."""
        query = JobRow.select(WHOLE_ROW).where(JobRow.state.in_(list(states) or _SHOWN))
        query = query.order_by(JobRow.seq.desc() if newest_first else JobRow.seq)
        if limit:
            query = query.limit(limit).offset(skip)
        return self._all(query)

    def ids(self, states: Iterable[State]) -> set[str]:
        """Return the ids of all jobs in these states."""
        query = JobRow.select(JobRow.job_id).where(JobRow.state.in_(list(states))).tuples()
        with ledger_faults(self.path):
            return {row[0] for row in query.execute(self._database)}

    def same_content(self, sha256: str) -> list[Job]:
        """Return the completed and the unfinished jobs whose recordings have this hash, oldest first.

        Not those that wait for another one of them: nobody has to wait for these.
        """
        looked_at = (JobRow.state == State.COMPLETED) | (JobRow.state.in_(UNFINISHED) & JobRow.duplicate_of.is_null())
        return self._all(JobRow.select(WHOLE_ROW).where(JobRow.sha256 == sha256, looked_at).order_by(JobRow.seq))

    def duplicates_of(self, job: Job) -> int:
        """Return how many ended jobs share this one's outputs."""
        query = JobRow.select(fn.COUNT("*")).where(JobRow.state == State.DUPLICATE, JobRow.duplicate_of == job.job_id)
        with ledger_faults(self.path):
            return int(query.scalar(self._database))

    def usual_rtf(self, model: str) -> float | None:
        """Return the median real-time factor of the last recordings that this model completed."""
        query = JobRow.select(JobRow.rtf, JobRow.options)
        query = query.where(JobRow.state == State.COMPLETED, JobRow.rtf.is_null(False))
        with ledger_faults(self.path):
            rows = list(query.order_by(JobRow.seq.desc()).limit(20).dicts().execute(self._database))
        same = [row["rtf"] for row in rows if json.loads(row["options"])["engine"].get("model") == model]
        return statistics.median(same) if same else None

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state."""
        query = JobRow.select(JobRow.state, fn.COUNT("*").alias("number")).group_by(JobRow.state).dicts()
        with ledger_faults(self.path):
            found = {row["state"]: row["number"] for row in query.execute(self._database)}
        return {state: found.get(state, 0) for state in State}

    def history(self, job: Job) -> list[dict[str, Any]]:
        """Return a job's changes of state, oldest first, as plain mappings."""
        query = TransitionRow.select().where(TransitionRow.job_id == job.job_id).order_by(TransitionRow.number)
        with ledger_faults(self.path):
            return list(query.dicts().execute(self._database))

    def _all(self, query: Any) -> list[Job]:
        return fetch(self.path, self._database, query, to_job)


_UNFINISHED = ", ".join(f"'{state}'" for state in UNFINISHED)
_BY_ID = "SELECT * FROM job WHERE job_id = ?"
_NEXT_DUE = f"""
SELECT * FROM job WHERE seq = (
    SELECT seq FROM job
    WHERE state = '{State.PENDING}' AND request IS NULL AND {IS_DUE} AND NOT EXISTS (
        SELECT * FROM job AS twin
        WHERE twin.job_id = job.duplicate_of AND twin.duplicate_of IS NULL AND twin.state IN ({_UNFINISHED})
    )
    ORDER BY priority DESC, {" + ".join(f"(done_s >= {level_s})" for level_s in LEVELS_S)}, seq LIMIT 1
)
"""  # noqa: S608  (only constants of ours are put in)
"""The order is that of `job.precedence`. A job waits only for a twin that does not wait itself: so no two can wait for
each other, whatever sidecars a ledger was rebuilt from."""
_SHOWN = [state for state in State if state is not State.CLAIMING]
