"""Tables and lines about jobs that fit 80 columns. Values in, renderables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from cesar_watch.core.humanize import count, duration, printable, rough, size
from cesar_watch.core.job import Job, State
from cesar_watch.core.notice import NoticeStatus, QueuedNotice

_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "processing": "cyan", "duplicate": "green"}


def ago(at: datetime | None, now: datetime) -> str:
    """Return "12 s ago" or "3 min ago"; a time in the future by a stepped clock is "just now"."""
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    return "just now" if seconds < 1 else f"{rough(seconds)} ago"


def until(at: datetime | None, now: datetime) -> str:
    """Return "in 2 min 5 s", or nothing when the time is not known or past."""
    seconds = (at - now).total_seconds() if at else 0.0
    return f"in {duration(seconds)}" if seconds > 0 else ""


def by_reason(counts: Mapping[str, int]) -> str:
    """Return "2 being written, 1 empty": how many files there are for which reason."""
    return ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in counts.items())


def plain(text: str) -> Text:
    """Return text in which nothing is markup and no control character reaches the terminal."""
    return Text(printable(text))


def progress_words(job: Job, now: datetime) -> str:
    """Return what matters about where a job stands, in a few words."""
    if job.state in (State.PROCESSING, State.TRANSCRIBED):
        left = until(job.estimated_completion_at, now)
        return f"{job.progress:.0f} %" + (f", done {left}" if left else "")
    if job.state is State.PENDING:
        again = until(job.not_before_at, now)
        if job.duplicate_of:
            return f"waiting for job {job.duplicate_of[:8]}, the same recording"
        return f"attempt {job.attempts + 1} {again}" if again else "waiting for the worker"
    return job.message


def jobs_table(jobs: Sequence[Job], now: datetime) -> Table:
    """Return the table of the command `jobs`."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("ID", no_wrap=True, width=8)
    table.add_column("RECORDING", overflow="ellipsis", no_wrap=True, width=18)
    table.add_column("STATUS", no_wrap=True, width=10)
    table.add_column("CLAIMED", no_wrap=True, width=11)
    table.add_column("", overflow="ellipsis", no_wrap=True, ratio=1)
    for job in jobs:
        shown = job.state.shown
        table.add_row(
            job.job_id[:8],
            plain(job.display_name),
            Text(shown, style=_STYLES.get(shown, "")),
            ago(job.created_at, now),
            plain(progress_words(job, now)),
        )
    return table


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """Return a two-column table of names and values; empty values are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(name, plain(value))
    return table


def job_facts(job: Job, now: datetime) -> list[tuple[str, str]]:
    """Return what `show` tells of a job."""
    length = f"{duration(job.duration_s)} long, " if job.duration_s else ""
    language = job.language or ""
    if job.language and job.language_probability is not None:
        language += f" ({job.language_probability:.0%} sure)"
    return [
        ("Job", job.job_id),
        ("Recording", f"{job.display_name} ({length}{size(job.identity.size_bytes)})"),
        ("Lies in", job.source.decode("utf-8", "replace")),
        ("Status", job.state.shown),
        ("Progress", progress_words(job, now) if job.state in (State.PROCESSING, State.PENDING) else ""),
        ("Message", job.message),
        ("Reason", job.error.reason if job.error else ""),
        ("Attempts", str(job.attempts)),
        ("Interrupted", f"{count(job.interruptions, 'time')} in a row" if job.interruptions else ""),
        ("Claimed", f"{_stamp(job.created_at)} ({ago(job.created_at, now)})"),
        ("Ended", _stamp(job.completed_at)),
        ("Language", language),
        ("Model", str(job.options.get("engine", {}).get("model", ""))),
        ("Speed", f"real-time factor {job.rtf:.3f}" if job.rtf else ""),
        ("Quality", str(job.quality.get("verdict", "")) if job.quality else ""),
        ("Same as", f"job {job.duplicate_of}" if job.duplicate_of else ""),
        ("Outputs", ", ".join(job.outputs)),
    ]


def notices_table(notices: Sequence[QueuedNotice], now: datetime) -> Table:
    """Return the table of the command `notify list`."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading, width in (("JOB", 8), ("EVENT", 9), ("STATUS", 7), ("TRIES", 5), ("MADE", 11)):
        table.add_column(heading, no_wrap=True, width=width)
    table.add_column("LAST ERROR", overflow="fold", ratio=1)
    styles = {NoticeStatus.SENT: "green", NoticeStatus.DEAD: "red"}
    for queued in notices:
        table.add_row(
            queued.notice.job_id[:8],
            queued.notice.event,
            Text(queued.status.value, style=styles.get(queued.status, "")),
            str(queued.attempts),
            ago(queued.created_at, now),
            plain(queued.last_error or ""),
        )
    return table


def _stamp(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def utc_now() -> datetime:
    """Return the time that tables count from."""
    return datetime.now(UTC)
