"""Marker mode: a recording is taken only when its sender has said that it is whole.

They say so by a file beside it, as a rule an empty one, with the recording's name and `spool.ready_marker` behind it.
It goes where the recording goes: left behind it would announce the next recording of that name.
"""

from __future__ import annotations

import os
import stat
from enum import Enum
from pathlib import Path
from typing import Any

from cesar_watch.core.companions import beside


class Promise(Enum):
    """What the sender of a recording says of it."""

    NOT_ASKED = "not_asked"
    """There is no marker mode."""
    MISSING = "missing"
    """There is no marker: it waits."""
    EARLIER = "earlier"
    """The recording changed behind its marker: it may be taken, but nothing is promised of what was written since."""
    GIVEN = "given"
    """The marker was made when the recording was what it is now."""


def announced_by(ending: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return a job's options with the marker that announced its recording, if one did."""
    return {**options, "ready_marker": ending} if ending else options


def promise_of(recording: Path, seen: os.stat_result, ending: str) -> Promise:
    """Return what the sender says of a recording, by the kernel's own times, which nobody can set back.

    Only a regular file counts as a marker: a link or a folder can't travel with the recording.

    Args:
        seen: The recording's `lstat` result.
        ending: The markers' ending; empty without marker mode.
    """
    if not ending:
        return Promise.NOT_ASKED
    try:
        marker = os.lstat(beside(recording, ending))
    except (FileNotFoundError, NotADirectoryError):
        return Promise.MISSING
    if not stat.S_ISREG(marker.st_mode):
        return Promise.MISSING
    return Promise.GIVEN if seen.st_ctime_ns <= marker.st_ctime_ns else Promise.EARLIER
