"""Which dead instances a person wants taken over: the ledger's part of `cesar-watch adopt`."""

from __future__ import annotations

from pathlib import Path

from peewee import SQL
from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core.database import ledger_faults
from cesar_watch.core.job import UNFINISHED, State
from cesar_watch.core.tables import JobRow, MetaRow

_KEY = "adopt "
"""What the keys of the meta rows begin with; the instance's id follows."""


class Adoptions:
    """Requests that stay until they were carried out. Safe to call from any thread."""

    def __init__(self, path: Path, database: APSWDatabase) -> None:
        self._path = path
        self._database = database

    def ask(self, instance: str, sign: str) -> None:
        """Note that an instance is to be taken over if its sign of life is still this one then."""
        with ledger_faults(self._path), self._database.atomic("IMMEDIATE"):
            row = MetaRow.insert(key=f"{_KEY}{instance}", value=sign)
            row.on_conflict("REPLACE").execute(self._database)

    def asked(self) -> dict[str, str]:
        """Return the signs that were seen of all instances that are to be taken over, by their ids."""
        query = MetaRow.select(MetaRow.key, MetaRow.value).where(MetaRow.key.startswith(_KEY)).tuples()
        with ledger_faults(self._path):
            return {str(key).removeprefix(_KEY): value for key, value in query.execute(self._database)}

    def done(self, instance: str) -> None:
        """Forget a request that was carried out, or refused."""
        with ledger_faults(self._path), self._database.atomic("IMMEDIATE"):
            MetaRow.delete().where(MetaRow.key == f"{_KEY}{instance}").execute(self._database)

    def is_there_work(self) -> bool:
        """Whether this instance has a recording that another one might take over."""
        states = [State.CLAIMING, *UNFINISHED]
        query = JobRow.select(SQL("1")).where(JobRow.state.in_(states)).limit(1).tuples()
        with ledger_faults(self._path):
            return bool(list(query.execute(self._database)))
