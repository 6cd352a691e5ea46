"""Open the ledger's SQLite database with the one set of pragmas that keeps our promises.

WAL with `synchronous=FULL` (NORMAL forgets finished jobs in a power cut), foreign keys, a busy
timeout of 30 s, BEGIN IMMEDIATE for writes (a deferred upgrade fails at once, whatever the timeout).
SQLite comes with apsw: builds before 3.51.3 can corrupt a WAL database that several processes write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peewee import DatabaseError, OperationalError, PeeweeException, SchemaManager
from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core.errors import LedgerError
from cesar_watch.core.tables import APPLICATION_ID, SCHEMA_VERSION, TABLES, MetaRow

BUSY_TIMEOUT_S = 30


def connect(path: Path) -> APSWDatabase:
    """Return a database object; each thread that uses it gets a connection of its own."""
    pragmas = {
        "journal_mode": "wal",
        "synchronous": "full",
        "foreign_keys": 1,
        "busy_timeout": BUSY_TIMEOUT_S * 1000,
    }
    return APSWDatabase(str(path), pragmas=pragmas, timeout=BUSY_TIMEOUT_S)


def open_database(path: Path, spool_id: str, *, owner: bool) -> APSWDatabase:
    """Open the ledger and see that it belongs to this spool.

    Args:
        owner: The caller holds the instance lock: a missing ledger is made, a damaged one looked for.

    Raises:
        LedgerError: Damaged, of another program, of a newer version, or of another spool. Nothing was changed.
    """
    blank = is_blank(path)
    if blank and not owner:
        raise LedgerError(f"There is no ledger at {path} yet: start `cesar-watch run` once.", reason="ledger_missing")
    with ledger_faults(path):
        if not blank:
            # Without our pragmas: setting WAL would already change a foreign database.
            with _closing(APSWDatabase(str(path), timeout=BUSY_TIMEOUT_S)) as database:
                _check_identity(database, path, spool_id)
        database = connect(path)
        if blank:
            _create(database, spool_id)
        if owner:
            _check_pages(database, path)
    return database


def is_blank(path: Path) -> bool:
    """Whether there is no ledger yet: no file, or one whose maker died before its first commit.

    Raises:
        LedgerError: It is not a database, or can't be read.
    """
    if not path.exists() or path.stat().st_size == 0:
        return True
    with ledger_faults(path), _closing(APSWDatabase(str(path), timeout=BUSY_TIMEOUT_S)) as database:
        tables = database.execute_sql("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        return not tables and not _pragma(database, "application_id") and not _pragma(database, "user_version")


@contextlib.contextmanager
def _closing(database: APSWDatabase) -> Iterator[APSWDatabase]:
    try:
        yield database
    finally:
        database.close()


def _create(database: APSWDatabase, spool_id: str) -> None:
    with database.atomic("IMMEDIATE"):
        for table in TABLES:
            SchemaManager(table, database).create_all(safe=True)
        MetaRow.insert(key="spool_id", value=spool_id).execute(database)
        database.execute_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_identity(database: APSWDatabase, path: Path, spool_id: str) -> None:
    ours = _pragma(database, "application_id") == APPLICATION_ID
    if not ours:
        raise LedgerError(
            f"{path} is not a ledger of cesar-watch: move it away, or correct spool.state_dir.",
            reason="ledger_foreign",
        )
    version = _pragma(database, "user_version")
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"{path} was written by another version (schema {version}, this one knows {SCHEMA_VERSION}): "
            "run the version that made it.",
            reason="ledger_version",
        )
    row = MetaRow.select().where(MetaRow.key == "spool_id").dicts().execute(database)
    known = next(iter(row), {"value": None})["value"]
    if known != spool_id:
        raise LedgerError(
            f"{path} belongs to another spool ({known}, not {spool_id}): correct spool.root or spool.state_dir.",
            reason="ledger_foreign",
        )


def _check_pages(database: APSWDatabase, path: Path) -> None:
    verdict = _pragma(database, "quick_check")
    if verdict != "ok":
        raise LedgerError(f"{path} is damaged ({verdict}): restore it from a backup.", reason="ledger_damaged")


def _pragma(database: APSWDatabase, name: str) -> Any:
    return database.execute_sql(f"PRAGMA {name}").fetchone()[0]


@contextlib.contextmanager
def ledger_faults(path: Path) -> Iterator[None]:
    """Turn the database's own errors into ours, which say what to do.

    Raises:
        LedgerError: Systemic: nothing was committed by the failing statement.
    """
    try:
        yield
    except OperationalError as fault:
        raise LedgerError(
            f"The ledger {path} can't be used ({fault}): see that its disk has space and is writable.",
        ) from fault
    except DatabaseError as fault:
        raise LedgerError(
            f"The ledger {path} is damaged ({fault}): restore it from a backup.", reason="ledger_damaged"
        ) from fault
    except PeeweeException as fault:
        raise LedgerError(f"The ledger {path} refused a statement ({fault}).") from fault
