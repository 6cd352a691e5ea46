"""The ledger's tables, and the one place where rows become values and values become columns.

Times are stored as POSIX seconds, names and paths as the bytes that the filesystem holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from peewee import (
    SQL,
    AutoField,
    BlobField,
    FloatField,
    IntegerField,
    Model,
    TextField,
)

from cesar_watch.core.job import Failure, FileIdentity, Job, Request, State
from cesar_watch.core.notice import Notice, NoticeStatus, QueuedNotice

SCHEMA_VERSION = 5
APPLICATION_ID = 0x43535257
"""Written into the SQLite header, so that a foreign database is told from ours."""


class MetaRow(Model):
    """Facts about the ledger itself."""

    key = TextField(primary_key=True)
    value = TextField()

    class Meta:
        table_name = "meta"


class JobRow(Model):
    """One job."""

    seq = AutoField()
    job_id = TextField(unique=True)
    state = TextField(index=True)
    name = BlobField()
    subfolder = BlobField()
    base = TextField()
    base_key = TextField()
    source = BlobField()
    moving_to = BlobField(null=True)
    device = IntegerField()
    inode = IntegerField()
    size_bytes = IntegerField()
    mtime_ns = IntegerField()
    sha256 = TextField(null=True, index=True)
    options = TextField()
    priority = IntegerField(default=0)
    done_s = FloatField(default=0.0)
    attempts = IntegerField(default=0)
    interruptions = IntegerField(default=0)
    lease = TextField(null=True)
    request = TextField(null=True, index=True)
    not_before_at = FloatField(null=True)
    created_at = FloatField()
    started_at = FloatField(null=True)
    updated_at = FloatField()
    completed_at = FloatField(null=True)
    estimated_completion_at = FloatField(null=True)
    progress = FloatField(default=0.0)
    message = TextField(default="")
    duration_s = FloatField(null=True)
    language = TextField(null=True)
    language_probability = FloatField(null=True)
    rtf = FloatField(null=True)
    quality = TextField(null=True)
    outputs = TextField(default="[]")
    outputs_sha256 = TextField(default="{}")
    duplicate_of = TextField(null=True)
    error_reason = TextField(null=True)
    error_message = TextField(null=True)

    class Meta:
        table_name = "job"
        indexes = ((("subfolder", "base_key"), True),)


class TransitionRow(Model):
    """One change of a job's state; only ever added to."""

    number = AutoField()
    job_id = TextField(index=True)
    event = TextField()
    from_state = TextField()
    to_state = TextField()
    attempt = IntegerField()
    at = FloatField()
    reason = TextField(null=True)

    class Meta:
        table_name = "transitions"


class NoticeRow(Model):
    """One message for one channel."""

    number = AutoField()
    key = TextField(unique=True)
    job_id = TextField(index=True)
    event = TextField()
    channel = TextField()
    title = TextField()
    body = TextField()
    attach = TextField(null=True)
    status = TextField(index=True)
    attempts = IntegerField(default=0)
    not_before_at = FloatField(null=True)
    created_at = FloatField()
    sent_at = FloatField(null=True)
    last_error = TextField(null=True)

    class Meta:
        table_name = "notice"


class TakenRow(Model):
    """A source in an inbox of somebody else's, as it was when it was copied; its path is relative to the inbox."""

    path = BlobField(primary_key=True)
    device = IntegerField()
    inode = IntegerField()
    size_bytes = IntegerField(index=True)
    mtime_ns = IntegerField()
    ctime_ns = IntegerField()
    sha256 = TextField()
    job_id = TextField(index=True)

    class Meta:
        table_name = "taken"


WHOLE_ROW = SQL("*")
"""To select all columns: naming forty of them costs peewee more than the query itself."""
TABLES = (MetaRow, JobRow, TransitionRow, NoticeRow, TakenRow)
SINCE: dict[type[Model], int] = {TakenRow: 4}
"""The schema version that brought a table, where it is not the first."""
IS_DUE = "(not_before_at IS NULL OR not_before_at <= :now OR not_before_at > :latest)"
"""That a row need not wait any longer, by the wall clock.

A time further off than any wait can be was written before somebody set the clock back; it counts as come, since the
wait it stood for can't be told any more.
"""
_TIMES = ("not_before_at", "created_at", "started_at", "updated_at", "completed_at", "estimated_completion_at")
_UNCHANGED = (
    *("seq", "job_id", "base", "sha256", "attempts", "interruptions", "lease", "progress", "message"),
    *("duration_s", "language", "language_probability", "rtf", "duplicate_of", "done_s"),
)


def due_by(now: datetime, longest_wait_s: float) -> dict[str, float]:
    """Return the parameters of `IS_DUE`."""
    return {"now": now.timestamp(), "latest": now.timestamp() + longest_wait_s}


def to_job(row: Mapping[str, Any]) -> Job:
    """Turn a row of the job table into a value."""
    unchanged: dict[str, Any] = {key: row[key] for key in _UNCHANGED}
    times: dict[str, Any] = {key: _to_time(row[key]) for key in _TIMES}
    return Job(
        **unchanged,
        **times,
        state=State(row["state"]),
        name=bytes(row["name"]),
        subfolder=bytes(row["subfolder"]),
        source=bytes(row["source"]),
        moving_to=None if row["moving_to"] is None else bytes(row["moving_to"]),
        identity=FileIdentity(row["device"], row["inode"], row["size_bytes"], row["mtime_ns"]),
        options=json.loads(row["options"]),
        request=Request(row["request"]) if row["request"] else None,
        quality=json.loads(row["quality"]) if row["quality"] else None,
        outputs=json.loads(row["outputs"]),
        outputs_sha256=json.loads(row["outputs_sha256"]),
        error=Failure(row["error_reason"], row["error_message"] or "") if row["error_reason"] else None,
    )


def to_columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn changed fields of a `Job` into columns.

    Raises:
        KeyError: A name is not a field that a job may change; nothing was written.
    """
    columns: dict[str, Any] = {}
    for key, value in changes.items():
        if key == "error":
            columns["error_reason"] = value.reason if value else None
            columns["error_message"] = value.message if value else None
        elif key == "identity":
            columns |= {"device": value.device, "inode": value.inode}
            columns |= {"size_bytes": value.size_bytes, "mtime_ns": value.mtime_ns}
        elif key in _TIMES:
            columns[key] = value.timestamp() if value else None
        elif key in ("options", "outputs", "outputs_sha256", "quality"):
            columns[key] = None if value is None else json.dumps(value)
            if key == "options":
                columns["priority"] = value.get("priority", 0)
        elif key in JobRow._meta.fields:  # peewee's own name for the table's columns
            columns[key] = value
        else:
            raise KeyError(key)
    return columns


def to_queued_notice(row: Mapping[str, Any]) -> QueuedNotice:
    """Turn a row of the notice table into a value."""
    notice = Notice(**{key: row[key] for key in ("key", "job_id", "event", "channel", "title", "body", "attach")})
    created_at = _to_time(row["created_at"])
    assert created_at is not None
    return QueuedNotice(
        number=row["number"],
        notice=notice,
        status=NoticeStatus(row["status"]),
        attempts=row["attempts"],
        created_at=created_at,
        sent_at=_to_time(row["sent_at"]),
        last_error=row["last_error"],
    )


def _to_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
