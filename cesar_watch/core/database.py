"""Open the ledger's SQLite database with the one set of pragmas that keeps our promises.

WAL with `synchronous=FULL` (NORMAL forgets finished jobs in a power cut), foreign keys, a busy
timeout of 30 s, BEGIN IMMEDIATE for writes (a deferred upgrade fails at once, whatever the timeout).
SQLite comes with apsw: builds before 3.51.3 can corrupt a WAL database that several processes write.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import apsw
from peewee import PeeweeException, Query
from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core import ledger_file, schema
from cesar_watch.core.errors import LedgerError
from cesar_watch.core.tables import APPLICATION_ID, SCHEMA_VERSION

BUSY_TIMEOUT_S = 30
WAL_LIMIT_BYTES = 16 * 1024 * 1024
"""What stays of a -wal that one large transaction made; SQLite's own checkpoints keep it near 4 MB."""

T = TypeVar("T")


def connect(path: Path) -> APSWDatabase:
    """Return a database object; each thread that uses it gets a connection of its own."""
    pragmas = {
        "journal_mode": "wal",
        "synchronous": "full",
        "foreign_keys": 1,
        "busy_timeout": BUSY_TIMEOUT_S * 1000,
        "journal_size_limit": WAL_LIMIT_BYTES,
    }
    return APSWDatabase(str(path), pragmas=pragmas, timeout=BUSY_TIMEOUT_S)


def open_owned(path: Path, spool_id: str) -> APSWDatabase:
    """Open the ledger for the owner of the instance lock: made where it is missing, converted where it is older.

    Raises:
        LedgerError: Damaged (reason `ledger_damaged`), or of another program, of a newer version or of another
            spool. Nothing was changed.
    """
    with ledger_faults(path):
        damage = ledger_file.damage(path)
        if damage:
            raise _damaged(path, damage)
        version = _identity_checked(path, spool_id)
        database = connect(path)
        try:
            if version is None:
                schema.create(database, spool_id)
            elif version < SCHEMA_VERSION:
                schema.convert(database)
            with _unreadable_rows(path):
                damage = schema.find_damage(database)
            if damage:
                raise _damaged(path, damage)
        except BaseException:
            database.close()
            raise
        return database


def open_visiting(path: Path, spool_id: str) -> APSWDatabase:
    """Open the ledger to ask something of its owner, who need not be there.

    Raises:
        LedgerError: There is none, or it can't be used. Nothing was changed.
    """
    with ledger_faults(path):
        _see_present(path, _identity_checked(path, spool_id))
        return connect(path)


def open_reading(path: Path, spool_id: str) -> tuple[APSWDatabase, bool]:
    """Open the ledger for reading only; no file is made or changed, so that it works on a full or read-only disk.

    Returns:
        The database, and whether it is only a snapshot of the last checkpoint: newer commits are in a -wal that
        can't be read here.

    Raises:
        LedgerError: There is none, or it can't be read.
    """
    ways = ["immutable=1"]
    if os.path.exists(f"{path}-wal") and os.path.exists(f"{path}-shm"):
        # The owner has it open, or died with it open. Without its index in the -shm, or while nobody else has
        # written to that, the first way works; the second needs to write into the -shm that is there.
        ways = ["mode=ro&readonly_shm=1", "mode=ro", *ways]
    for way in ways:
        database = APSWDatabase(
            f"file:{quote(os.fsencode(path))}?{way}",
            timeout=BUSY_TIMEOUT_S,
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        )
        try:
            with ledger_faults(path):
                _see_present(path, _check_identity(database, path, spool_id))
        except LedgerError as fault:
            database.close()
            if way == ways[-1] or fault.reason not in ("ledger_unusable", "disk_full", "read_only"):
                raise
        else:
            return database, way == "immutable=1" and ledger_file.has_content(path, "-wal")
    raise AssertionError("the last way returns or raises")


def _identity_checked(path: Path, spool_id: str) -> int | None:
    """Return the schema version of a ledger that is ours, None of one that is blank or missing."""
    whose = ledger_file.application_id(path)
    if whose not in (None, 0, APPLICATION_ID):
        raise _foreign_program(path)
    if whose is None:
        if ledger_file.has_content(path):
            raise _damaged(path, "it is not a database")
        return None
    # Without our pragmas: setting WAL would already change a foreign database.
    database = APSWDatabase(str(path), timeout=BUSY_TIMEOUT_S)
    try:
        return _check_identity(database, path, spool_id)
    finally:
        database.close()


def _check_identity(database: APSWDatabase, path: Path, spool_id: str) -> int | None:
    whose, version = (schema.pragma(database, name) for name in ("application_id", "user_version"))
    if not whose and not version and not database.get_tables():
        return None  # its maker died before the first commit
    if whose != APPLICATION_ID:
        raise _foreign_program(path)
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"{path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION}): run the "
            f"version that made it, or make a new ledger from the folders. {REBUILD}",
            reason="ledger_version",
        )
    missing = schema.missing_tables(database, version)
    if missing:
        raise _damaged(path, f"it has no table {' and no table '.join(missing)}")
    known = schema.meta(database, "spool_id")
    if known is None:
        raise _damaged(path, "it does not say which spool it belongs to")
    if known != spool_id:
        raise LedgerError(
            f"{path} belongs to another spool ({known}, not {spool_id}): correct spool.root or spool.state_dir. "
            f"If it may go, make a new one from the folders. {REBUILD}",
            reason="ledger_foreign",
        )
    return int(version)


def _see_present(path: Path, version: int | None) -> None:
    if version is None:
        raise LedgerError(f"There is no ledger at {path} yet: start `cesar-watch run` once.", reason="ledger_missing")
    if version < SCHEMA_VERSION:
        raise LedgerError(
            f"{path} was written by an older version (schema {version}, this one needs {SCHEMA_VERSION}): start the "
            "service once, which converts it.",
            reason="ledger_version",
        )


REBUILD = "`cesar-watch ledger rebuild` does so, and keeps this one aside."


def _foreign_program(path: Path) -> LedgerError:
    return LedgerError(
        f"{path} is not a ledger of cesar-watch: move it away, or correct spool.state_dir. If it may go, make a new "
        f"ledger from the folders. {REBUILD}",
        reason="ledger_foreign",
    )


def _damaged(path: Path, what: object) -> LedgerError:
    if ledger_file.application_id(path) not in (None, APPLICATION_ID):
        return _foreign_program(path)
    return LedgerError(
        f"The ledger {path} is damaged ({what}): at its start the service keeps it aside and makes a new one "
        "from the folders.",
        reason="ledger_damaged",
    )


def fetch(path: Path, database: APSWDatabase, query: Query, decode: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Return a query's rows as values.

    Raises:
        LedgerError: The ledger can't be read, or holds a row that is none of ours.
    """
    with ledger_faults(path), _unreadable_rows(path):
        return [decode(row) for row in query.dicts().execute(database)]


def ask(
    path: Path,
    database: APSWDatabase,
    sql: str,
    parameters: Sequence[Any] | Mapping[str, Any],
    decode: Callable[[Mapping[str, Any]], T],
) -> list[T]:
    """Return a query's rows as values, as `fetch` does, for what is asked all the time.

    peewee takes five times as long to build such a query as SQLite to answer it.
    """
    with ledger_faults(path), _unreadable_rows(path):
        cursor = database.execute_sql(sql, parameters)
        return [
            decode({about[0]: value for about, value in zip(cursor.getdescription(), row, strict=True)})
            for row in cursor
        ]


@contextlib.contextmanager
def _unreadable_rows(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, OverflowError, AssertionError) as fault:
        raise _damaged(path, f"a row can't be read: {fault}") from fault


@contextlib.contextmanager
def ledger_faults(path: Path) -> Iterator[None]:
    """Turn the database's own errors into ours, which say what to do.

    Raises:
        LedgerError: Systemic: nothing was committed by the failing statement.
    """
    try:
        yield
    # apsw's own: peewee does not wrap what goes wrong behind the first row of an answer.
    except (PeeweeException, apsw.Error) as fault:
        raise _explain(path, fault) from fault
    except OSError as fault:
        raise LedgerError(
            f"The ledger {path} can't be read ({fault.strerror}): see its disk and permissions."
        ) from fault


def _explain(path: Path, fault: Exception) -> LedgerError:
    cause = getattr(fault, "orig", fault)
    if isinstance(cause, apsw.FullError):
        return LedgerError(
            f"The ledger {path} can't be written, its disk is full: free some space.", reason="disk_full"
        )
    if isinstance(cause, apsw.ReadOnlyError):
        return LedgerError(
            f"The ledger {path} can't be written, its disk is read-only: remount it writable.", reason="read_only"
        )
    if isinstance(cause, (apsw.CorruptError, apsw.NotADBError)):
        return _damaged(path, fault)
    return LedgerError(f"The ledger {path} can't be used ({fault}): see that its disk has space and is writable.")
