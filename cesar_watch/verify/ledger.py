"""The ledger as a stranger reads it: plain SQLite, opened read-only, in one transaction.

The rows are decoded by rules of their own, so that what the writer's code would pass over shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cesar_watch.verify.finding import Finding
from cesar_watch.verify.terms import (
    APPLICATION_ID,
    CLAIMING,
    COMPLETED,
    DUPLICATE,
    INBOX,
    JOB_EVENTS,
    LEDGER_SCHEMAS,
    NOTICE_STATES,
    STATES,
    WAL_MAGICS,
)


class CannotLook(Exception):
    """The spool can't be looked at: one sentence that says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of one job. Paths are bytes relative to the root.

    `whole_row` changes with every change of the row, whatever column it is in.
    """

    job_id: str
    state: str
    name: bytes
    folder: bytes
    base: str
    source: bytes
    moving_to: bytes | None
    size_bytes: int
    mtime_ns: int
    sha256: str | None
    request: str | None
    formats: tuple[str, ...]
    ready_marker: str
    outputs: tuple[str, ...]
    outputs_sha256: dict[str, str]
    duplicate_of: str | None
    duration_s: float | None
    is_copied: bool
    whole_row: int

    def is_source(self, path: bytes | None) -> bool:
        """Whether a place is that of a recording which was only copied: it is its owner's, and may change or go."""
        return self.is_copied and path is not None and path.startswith(INBOX + b"/")


@dataclass
class Book:
    """Everything that was read of a ledger, and what is wrong with it by itself.

    `rows` has, by job id, also the rows that can't be understood; `is_readable` is False for a file that is no ledger
    of this spool, to which folders can't be compared.
    """

    path: bytes
    entries: dict[str, Entry] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    is_readable: bool = True

    def found(self, code: str, job_id: str | None = None, detail: str = "") -> None:
        """Note that something about the ledger itself is wrong."""
        self.findings.append(Finding(code, self.path, job_id, detail))


def read_book(path: Path, shown_path: bytes, spool_id: str) -> Book:
    """Read the ledger as it is at one moment; nothing is written, whatever state it is in.

    Raises:
        CannotLook: It is there, and can't be opened, or not without losing sight of its newest entries.
    """
    book = Book(shown_path)
    log = path.with_name(path.name + "-wal")
    if _begins_wrong(log):
        # SQLite would pass over it without a word, and over the commits in it.
        book.found("ledger_damaged", detail=f"{log.name} is garbage")
        book.is_readable = False
        return book
    try:
        with contextlib.closing(_open(path)) as database:
            database.execute("BEGIN")
            _check_identity(book, database, spool_id)
            if book.is_readable:
                _read_rows(book, database)
                _check_history(book, database)
                _check_notices(book, database)
    except sqlite3.DatabaseError as fault:
        book.found("ledger_damaged", detail=str(fault))
        book.is_readable = False
    return book


def _begins_wrong(log: Path) -> bool:
    """Whether a write-ahead log lacks its magic number (sqlite.org/fileformat2.html, section 4.1)."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as stream:
        return stream.read(4) not in (b"", b"\0\0\0\0", *WAL_MAGICS)
    return False


def _open(path: Path) -> sqlite3.Connection:
    """Open read-only; on a disk on which not even a reader can keep its books, as an immutable file."""
    url = "file:" + urllib.parse.quote(os.fsencode(path))
    try:
        return _tried(url + "?mode=ro")
    except sqlite3.OperationalError as fault:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise CannotLook(
                f"The ledger {path} can't be read ({fault}): see that its disk has space, and that you may read it."
            ) from None
        return _tried(url + "?mode=ro&immutable=1")


def _tried(url: str) -> sqlite3.Connection:
    database = sqlite3.connect(url, uri=True, timeout=30.0, isolation_level=None)
    try:
        # Text that is not UTF-8 would stop the reading of all rows; so it shows in the one that holds it.
        database.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        database.row_factory = sqlite3.Row
        database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _check_identity(book: Book, database: sqlite3.Connection, spool_id: str) -> None:
    application_id, version = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application_id != APPLICATION_ID:
        book.found("ledger_foreign", detail=f"application_id {application_id:#x}")
    elif version not in LEDGER_SCHEMAS:
        book.found("ledger_version", detail=str(version))
    else:
        known = database.execute("SELECT value FROM meta WHERE key = 'spool_id'").fetchone()
        if known is None or known[0] != spool_id:
            book.found("ledger_other_spool", detail=known[0] if known else "none")
    book.is_readable = not book.findings
    verdict = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if book.is_readable and verdict != "ok":
        book.found("ledger_damaged", detail=" ".join(verdict.split()))


# --- rows -------------------------------------------------------------------------------------


def _read_rows(book: Book, database: sqlite3.Connection) -> None:
    for row in database.execute("SELECT * FROM job ORDER BY seq"):
        job_id = str(row["job_id"])
        book.rows[job_id] = hash(tuple(row))
        try:
            book.entries[job_id] = _entry(row)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
            book.found("row_damaged", job_id, f"{type(fault).__name__}: {' '.join(str(fault).split())}")


def _entry(row: sqlite3.Row) -> Entry:
    """Decode one row.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: It can't be understood.
    """
    columns = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a Row iterates over its values
    options = json.loads(columns["options"])
    json.loads(columns["quality"] or "null")
    outputs = json.loads(columns["outputs"])
    hashes = json.loads(columns.get("outputs_sha256") or "{}")
    _see_each(float, columns["created_at"], columns["updated_at"])
    _see_each(str, columns["base"], *outputs, *hashes, *hashes.values(), *options["output"]["formats"])
    _see_each(str, options.get("ready_marker", ""))
    if columns["state"] not in STATES:
        raise ValueError(f"state {columns['state']!r}")
    if columns["sha256"] is not None and not re.fullmatch("[0-9a-f]{64}", columns["sha256"]):
        raise ValueError(f"sha256 {columns['sha256']!r}")
    twin = columns.get("duplicate_of")
    if any("/" in name or not name for name in (columns["base"], *(() if twin else outputs))):
        raise ValueError(f"base {columns['base']!r}, outputs {outputs!r}")
    if twin is None and columns["state"] == DUPLICATE:
        raise ValueError("a duplicate of nothing")
    return Entry(
        job_id=str(columns["job_id"]),
        state=columns["state"],
        name=bytes(columns["name"]),
        folder=_inside(bytes(columns["subfolder"])),
        base=columns["base"],
        source=_inside(bytes(columns["source"])),
        moving_to=None if columns["moving_to"] is None else _inside(bytes(columns["moving_to"])),
        size_bytes=int(columns["size_bytes"]),
        mtime_ns=int(columns["mtime_ns"]),
        sha256=columns["sha256"],
        request=columns["request"],
        formats=tuple(options["output"]["formats"]),
        ready_marker=options.get("ready_marker", ""),
        outputs=tuple(outputs),
        outputs_sha256=hashes,
        duplicate_of=twin,
        duration_s=columns["duration_s"],
        is_copied=options.get("claim") == "copy",
        whole_row=hash(tuple(row)),
    )


def _inside(path: bytes) -> bytes:
    if path.startswith(b"/") or b".." in path.split(b"/"):
        raise ValueError(f"path {path!r}")
    return path


def _see_each(kind: type, *values: Any) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise ValueError(f"{value!r} is no {kind.__name__}")


# --- history and notices ------------------------------------------------------------------------


def _check_history(book: Book, database: sqlite3.Connection) -> None:
    """See that each job's changes of state follow on each other and end in its state.

    A ledger that was rebuilt has no history of what went before.
    """
    at: dict[str, str] = {}
    broken: dict[str, str] = {}
    for job_id, before, after in database.execute(
        "SELECT job_id, from_state, to_state FROM transitions ORDER BY number"
    ):
        expected = at.get(job_id, before)
        if before != expected:
            broken.setdefault(job_id, f"after {expected} follows a change from {before}")
        if job_id not in book.rows:
            broken.setdefault(job_id, "there is no such job")
        at[job_id] = after
    for entry in book.entries.values():
        last = at.get(entry.job_id, entry.state)
        if last != entry.state:
            broken.setdefault(entry.job_id, f"it ends in {last}, the job is {entry.state}")
    for job_id, detail in broken.items():
        book.found("history_broken", job_id, detail)


def _check_notices(book: Book, database: sqlite3.Connection) -> None:
    query = "SELECT job_id, event, channel, key, status, sent_at FROM notice ORDER BY number"
    ends: dict[tuple[str, ...], int] = defaultdict(int)
    for job_id, event, channel, key, status, sent_at in database.execute(query):
        for detail in _notice_faults(book, str(job_id), event, status, sent_at):
            book.found("notice_wrong", job_id or None, detail)
        ends[job_id, event, channel, key] += 1
    for (job_id, event, channel, _), count in ends.items():
        if count > 1:
            book.found("notice_wrong", job_id or None, f"{count} of {event} for the channel {channel}")


def _notice_faults(book: Book, job_id: str, event: str, status: str, sent_at: float | None) -> Iterator[str]:
    if status not in NOTICE_STATES:
        yield f"its state is {status!r}"
    if (status == "sent") != (sent_at is not None):
        yield f"it is {status}, sent at {sent_at}"
    if event not in JOB_EVENTS:
        return
    entry = book.entries.get(job_id)
    if job_id not in book.rows:
        yield f"it tells of a job {job_id} that does not exist"
    elif entry and (entry.state == CLAIMING or (event == COMPLETED != entry.state)):
        yield f"it tells of {event}, the job is {entry.state}"
