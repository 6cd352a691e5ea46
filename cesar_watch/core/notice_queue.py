"""The notices that wait to be sent, were sent, or could not be: the ledger's part of telling people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from peewee import fn
from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core.database import ask, fetch, ledger_faults
from cesar_watch.core.notice import Notice, NoticeStatus, QueuedNotice
from cesar_watch.core.tables import IS_DUE, WHOLE_ROW, NoticeRow, due_by, to_queued_notice


class NoticeQueue:
    """The notice table of an open ledger. Safe to call from any thread."""

    def __init__(self, path: Path, database: APSWDatabase) -> None:
        self._path = path
        self._database = database

    def add(self, notices: Sequence[Notice], now: datetime) -> None:
        """Add notices to the transaction that is open; one whose key is there already is left as it is."""
        for notice in notices:
            row = {**vars(notice), "status": NoticeStatus.PENDING, "created_at": now.timestamp()}
            NoticeRow.insert(row).on_conflict_ignore().execute(self._database)

    def due(self, now: datetime, longest_wait_s: float = math.inf) -> QueuedNotice | None:
        """Return the oldest notice whose time has come; `longest_wait_s` as for `Ledger.next_due`."""
        found = ask(self._path, self._database, _NEXT_DUE, due_by(now, longest_wait_s), to_queued_notice)
        return found[0] if found else None

    def sent(self, queued: QueuedNotice, now: datetime) -> None:
        """Note that a channel took the notice."""
        self._set(
            queued, status=NoticeStatus.SENT, attempts=queued.attempts + 1, sent_at=now.timestamp(), last_error=None
        )

    def later(self, queued: QueuedNotice, not_before_at: datetime, error: str) -> None:
        """Note a failed attempt and when the next one is due."""
        self._set(queued, attempts=queued.attempts + 1, not_before_at=not_before_at.timestamp(), last_error=error)

    def give_up(self, queued: QueuedNotice, error: str) -> None:
        """Keep the notice as a dead letter."""
        self._set(queued, status=NoticeStatus.DEAD, attempts=queued.attempts + 1, last_error=error)

    def revive(self) -> int:
        """Make every dead letter due again; returns how many there were."""
        query = NoticeRow.update(status=NoticeStatus.PENDING, attempts=0, not_before_at=None).where(
            NoticeRow.status == NoticeStatus.DEAD
        )
        with ledger_faults(self._path), self._database.atomic("IMMEDIATE"):
            return int(query.execute(self._database))

    def recent(self, limit: int = 100) -> list[QueuedNotice]:
        """Return the newest notices, newest first."""
        return self._all(NoticeRow.select(WHOLE_ROW).order_by(NoticeRow.number.desc()).limit(limit))

    def counts(self) -> dict[NoticeStatus, int]:
        """Return how many notices stand where."""
        query = NoticeRow.select(NoticeRow.status, fn.COUNT("*").alias("number")).group_by(NoticeRow.status).dicts()
        with ledger_faults(self._path):
            found = {row["status"]: row["number"] for row in query.execute(self._database)}
        return {status: found.get(status, 0) for status in NoticeStatus}

    def _set(self, queued: QueuedNotice, **columns: Any) -> None:
        query = NoticeRow.update(**columns).where(NoticeRow.number == queued.number)
        with ledger_faults(self._path), self._database.atomic("IMMEDIATE"):
            query.execute(self._database)

    def _all(self, query: Any) -> list[QueuedNotice]:
        return fetch(self._path, self._database, query, to_queued_notice)


_NEXT_DUE = f"""
SELECT * FROM notice WHERE status = '{NoticeStatus.PENDING}' AND {IS_DUE} ORDER BY number LIMIT 1
"""  # noqa: S608  (only constants of ours are put in)
