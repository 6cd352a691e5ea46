"""What outputs are made of beside the transcript: facts of the recording, and how a person wants them to look."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cesar_watch.core.humanize import printable
from cesar_watch.core.job import Job
from cesar_watch.core.transcript import Value


class About(Value):
    """Facts of a recording that outputs tell. They are the same whenever a job is published again.

    `recorded_at` is when the file was last changed, in this machine's time zone: nothing that is known comes nearer to
    when it was recorded.
    """

    job_id: str
    name: str
    recorded_at: datetime
    model: str

    @classmethod
    def of(cls, job: Job) -> About:
        """Take them from a job."""
        return cls(
            job_id=job.job_id,
            name=printable(job.display_name),
            recorded_at=_recorded_at(job),
            model=str(job.options.get("engine", {}).get("model", "")),
        )

    @property
    def title(self) -> str:
        """The recording's name without its ending."""
        return os.path.splitext(self.name)[0]


@dataclass(frozen=True)
class Style:
    """How outputs look, by the settings. An empty template is the built-in one."""

    highlight_words: bool = False
    md_template: str = ""

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> Style:
        """Take it from the output options of a job; those of older versions say less."""
        return cls(output.get("highlight_words", False), output.get("md_template", ""))


def _recorded_at(job: Job) -> datetime:
    try:
        return datetime.fromtimestamp(job.identity.mtime_ns // 10**9, UTC).astimezone()
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        return job.created_at.replace(microsecond=0)
