"""The ledger's schema: made, converted from an older version, and checked from the pages up to every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from peewee import Field, Model, SchemaManager
from playhouse.apsw_ext import APSWDatabase

from cesar_watch.core.tables import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    SINCE,
    TABLES,
    JobRow,
    MetaRow,
    NoticeRow,
    to_job,
    to_queued_notice,
)

_STORED_AS = {
    "AUTO": ("integer",),
    "INT": ("integer",),
    "FLOAT": ("real", "integer"),
    "TEXT": ("text",),
    "BLOB": ("blob",),
}
"""What SQLite may hold in a column, by peewee's type of its field."""

_DECODED: tuple[tuple[type[Model], Callable[[Mapping[str, Any]], object]], ...] = (
    (JobRow, to_job),
    (NoticeRow, to_queued_notice),
)


def create(database: APSWDatabase, spool_id: str) -> None:
    """Make an empty ledger that belongs to this spool, in one transaction."""
    with database.atomic("IMMEDIATE"):
        for table in TABLES:
            SchemaManager(table, database).create_all(safe=True)
        MetaRow.insert(key="spool_id", value=spool_id).execute(database)
        database.execute_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    # The file itself says from now on whose it is, should its -wal be lost.
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def meta(database: APSWDatabase, key: str) -> str | None:
    """Return a fact about the ledger itself."""
    rows = MetaRow.select().where(MetaRow.key == key).dicts().execute(database)
    return next((str(row["value"]) for row in rows), None)


def pragma(database: APSWDatabase, name: str) -> Any:
    """Return the first value of a pragma's first row."""
    return database.execute_sql(f"PRAGMA {name}").fetchone()[0]


def convert(database: APSWDatabase) -> None:
    """Add what this version has more than the one that made the ledger, in one transaction; older versions had less."""
    with database.atomic("IMMEDIATE"):
        for table, field in _missing_fields(database):
            database.execute_sql(f'ALTER TABLE "{table._meta.table_name}" ADD COLUMN {_definition(field)}')
        for table in TABLES:
            SchemaManager(table, database).create_all(safe=True)
        database.execute_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _definition(field: Field) -> str:
    kind = {"INT": "INTEGER", "FLOAT": "REAL"}.get(field.field_type, field.field_type)
    if field.null:
        return f'"{field.column_name}" {kind}'
    default = field.default
    assert isinstance(default, (str, int, float)), f"a new column needs a default, or may be null: {field.column_name}"
    literal = "'" + default.replace("'", "''") + "'" if isinstance(default, str) else str(default)
    return f'"{field.column_name}" {kind} NOT NULL DEFAULT {literal}'


def _missing_fields(database: APSWDatabase) -> list[tuple[type[Model], Field]]:
    there = database.get_tables()
    tables = [table for table in TABLES if table._meta.table_name in there]
    present = {table: {column.name for column in database.get_columns(table._meta.table_name)} for table in tables}
    return [
        (table, field)
        for table, columns in present.items()
        for field in table._meta.sorted_fields
        if field.column_name not in columns
    ]


def missing_tables(database: APSWDatabase, version: int) -> list[str]:
    """Return the names of the tables that a ledger of this version has, and this one has not."""
    present = database.get_tables()
    known = (table._meta.table_name for table in TABLES if SINCE.get(table, 0) <= version)
    return [name for name in known if name not in present]


def find_damage(database: APSWDatabase) -> str | None:
    """Say what is wrong inside a ledger of this version: its pages, indexes, columns, values; None: nothing.

    Raises:
        DatabaseError, ValueError, TypeError, OverflowError: As good as a finding: it can't be read.
    """
    return next(_findings(database), None)


def _findings(database: APSWDatabase) -> Iterator[str]:
    for _, field in _missing_fields(database):
        yield f"its column {field.column_name} is missing"
    verdict = pragma(database, "integrity_check")
    if verdict != "ok":
        yield str(verdict).splitlines()[0]
    for known in TABLES:
        wrong = database.execute_sql(_wrongly_stored(known)).fetchone()[0]
        if wrong:
            yield f"{wrong} rows of its table {known._meta.table_name} hold values of the wrong kind"
    for table, decode in _DECODED:
        for row in table.select().dicts().execute(database).iterator():
            decode(row)


def _wrongly_stored(table: type[Model]) -> str:
    conditions = []
    for field in table._meta.sorted_fields:
        kinds = (*_STORED_AS[field.field_type], *(("null",) if field.null else ()))
        allowed = ", ".join(f"'{kind}'" for kind in kinds)
        conditions.append(f'typeof("{field.column_name}") NOT IN ({allowed})')
    return f'SELECT COUNT(*) FROM "{table._meta.table_name}" WHERE {" OR ".join(conditions)}'  # noqa: S608 - our own names
