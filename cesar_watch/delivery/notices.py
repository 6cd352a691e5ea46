"""Decide who is told what when a job ends, or the service pauses. Pure: nothing is sent here.

A notice never holds a channel's URL, since URLs carry passwords and notices are stored: it names the
channel by a hash, and the URL is looked up in the settings when it is sent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Literal

from cesar_watch.core.config import NoticeEvent, NotifySettings
from cesar_watch.core.globs import matches
from cesar_watch.core.job import Job, State
from cesar_watch.core.notice import Notice

SERVICE_NAME = "cesar-watch"
"""What `{name}` is where no recording is told of."""
TEXT_CHARACTERS = 500
"""How much of a transcript `{text}` shows."""

_EVENTS: dict[State, NoticeEvent] = {
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.DUPLICATE: "duplicate",
}


def notices_for(job: Job, channels: Iterable[NotifySettings], *, text: str) -> list[Notice]:
    """Return the notices that this end of the job asks for, at most one for each channel.

    A job that hasn't ended, or was cancelled by the very person who would be told, asks for none.
    The keys are the same for the same end, told by its `completed_at`, and others after a requeue.

    Args:
        job: As it stands after its end, with `message` or `error` told in a sentence.
        channels: As the settings list them; of several with one URL the first that wants it counts.
        text: The transcript, of which `{text}` shows the beginning; empty where there is none.
    """
    event = _EVENTS.get(job.state)
    if event is None:
        return []
    values = _placeholders(job, text)
    notices: dict[str, Notice] = {}
    for channel in channels:
        if event in channel.events and _matches(job, channel.match):
            # By its time and not by its attempt: a requeue counts attempts from the start again.
            ended_at = job.completed_at or job.updated_at
            key = f"{job.job_id}:{event}:{channel_id(channel.url)}:{ended_at.timestamp()}"
            attach = _attachment(job) if channel.attach else None
            notices.setdefault(key, _notice(key, event, channel, values, job_id=job.job_id, attach=attach))
    return list(notices.values())


def service_notices(
    event: Literal["paused", "resumed", "degraded"], message: str, channels: Iterable[NotifySettings]
) -> list[Notice]:
    """Return the notices about the service itself, at most one for each channel; they are of no job.

    Args:
        message: A sentence: what is wrong and what to do, or that it is over.
    """
    values = {"name": SERVICE_NAME, "status": event, "job_id": "", "message": message, "text": ""}
    notices: dict[str, Notice] = {}
    for channel in channels:
        if event in channel.events:
            key = f"{event}:{channel_id(channel.url)}"
            notices.setdefault(key, _notice(key, event, channel, values))
    return list(notices.values())


def channel_id(url: str) -> str:
    """Return the short name under which a channel is stored: stable, and without its secrets."""
    return hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:12]


def find_channel(channels: Sequence[NotifySettings], channel: str) -> NotifySettings | None:
    """Return the settings of a stored channel id; None if the settings don't hold it any more."""
    return next((settings for settings in channels if channel_id(settings.url) == channel), None)


def _notice(
    key: str,
    event: NoticeEvent,
    channel: NotifySettings,
    values: dict[str, str],
    *,
    job_id: str = "",
    attach: str | None = None,
) -> Notice:
    return Notice(
        key=key,
        job_id=job_id,
        event=event,
        channel=channel_id(channel.url),
        title=_valid(" ".join(channel.title.format(**values).split())),
        body=_valid(channel.body.format(**values)),
        attach=attach,
    )


def _placeholders(job: Job, text: str) -> dict[str, str]:
    return {
        "name": " ".join(job.display_name.split()),
        "status": job.state.shown,
        "job_id": job.job_id,
        "message": job.error.message if job.error else job.message,
        "text": _beginning(text),
    }


def _beginning(text: str) -> str:
    if len(text) <= TEXT_CHARACTERS:
        return text
    cut = text[:TEXT_CHARACTERS]
    # Scripts without spaces have no word to spare: those are cut where they stand.
    return (cut.rpartition(" ")[0] or cut).rstrip() + " …"


def _matches(job: Job, pattern: str) -> bool:
    path = os.path.join(job.subfolder, job.name).decode("utf-8", "replace")
    return matches(path, pattern)


def _attachment(job: Job) -> str | None:
    """Return the plain text or, where that wasn't asked for, the first output; of a duplicate, those of its twin.

    None in a folder whose name isn't UTF-8: a stored notice can't hold such a path.
    """
    name = next((output for output in job.outputs if output.endswith(".txt")), next(iter(job.outputs), None))
    try:
        return os.path.normpath(os.path.join("outbox", job.subfolder.decode(), name)) if name else None
    except UnicodeDecodeError:
        return None


def _valid(text: str) -> str:
    """Return text that can be stored and sent: messages may quote paths that aren't UTF-8."""
    return text.encode("utf-8", "replace").decode()
