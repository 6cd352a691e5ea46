"""The value of a message that tells people about a job; making and sending it is delivery's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeStatus(StrEnum):
    """Where a notice stands."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    """Every attempt failed; kept until somebody sends it again."""


@dataclass(frozen=True)
class Notice:
    """One message for one channel about one end of one job.

    `key` is unique for (job, event, channel, round), so that a repeated commit makes no second
    message. `channel` is a hash of the channel's URL: URLs carry passwords and stay in the settings.
    `attach` is a path relative to the spool's root.
    """

    key: str
    job_id: str
    event: str
    channel: str
    title: str
    body: str
    attach: str | None


@dataclass(frozen=True)
class QueuedNotice:
    """A notice as the ledger holds it."""

    number: int
    notice: Notice
    status: NoticeStatus
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    last_error: str | None
