"""What lies beside a recording and goes where it goes: its settings file, and the marker that announced it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cesar_watch.core.job import Job

FOLDER_SETTINGS = ".cesar.toml"
"""Holds settings for the recordings of its inbox folder and of the folders below."""
SETTINGS_ENDING = ".toml"
"""`<recording>.toml` beside a recording holds settings for it alone, and goes where it goes."""

NAME_BYTES = 255
"""No name is longer, on any filesystem that matters."""


def name_limit(folder: Path, ask: Callable[[Path, str], int] = os.pathconf) -> int:
    """Return how many bytes a name in the folder may have: 255, or what its filesystem takes if that is less.

    eCryptfs takes 143, and so does an encrypted share of a NAS; FAT says 1530, six bytes for each of 255 letters.

    Args:
        ask: As pathconf(3); only tests need another one.
    """
    try:
        limit_bytes = ask(folder, "PC_NAME_MAX")
    except OSError:
        return NAME_BYTES
    return min(limit_bytes, NAME_BYTES) if limit_bytes > 0 else NAME_BYTES


def settings_path(recording: Path) -> Path:
    """Return where the settings for one recording lie: `<name>.toml` beside it."""
    return beside(recording, SETTINGS_ENDING)


def companions(job: Job) -> tuple[str, ...]:
    """Return by their endings the files that came with a job's recording, and go where it goes."""
    settings = (SETTINGS_ENDING,) if job.has_settings_file else ()
    return (*settings, job.ready_marker) if job.ready_marker else settings


def followers(job: Job) -> tuple[str, ...]:
    """Return by their endings all files that go where a recording goes: settings may have come since the claim."""
    return tuple(dict.fromkeys((SETTINGS_ENDING, *companions(job))))


def beside(path: Path, ending: str) -> Path:
    """Return `<name><ending>` beside a file, cut to the filesystem's limit.

    Cut names carry a hash of the whole one, so that two long names don't share what lies beside them.
    """
    name, tail = os.fsencode(path.name), os.fsencode(ending)
    limit_bytes = name_limit(path.parent)
    if len(name) + len(tail) > limit_bytes:
        mark = b"~" + hashlib.sha256(name).hexdigest()[:8].encode()
        name = cut(name, limit_bytes - len(mark) - len(tail)) + mark
    return path.with_name(os.fsdecode(name + tail))


def cut(name: bytes, room: int) -> bytes:
    """Cut without leaving half a UTF-8 sequence, which some filesystems refuse."""
    while 0 < room < len(name) and name[room] & 0xC0 == 0x80:
        room -= 1
    return name[:room]
