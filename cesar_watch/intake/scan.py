"""Look through the inbox: the one truth about what is there.

File events only wake the caller; start-up, steady state and lost events all come through here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.rules import Rejection, descend_into, reject_kind, reject_name


@dataclass(frozen=True)
class Candidate:
    """A recording seen in the inbox, not yet settled. Names are raw bytes; `subfolder` is relative to the inbox."""

    path: Path
    name: bytes
    subfolder: bytes
    stat: os.stat_result


@dataclass(frozen=True)
class Rejected:
    """A file that stays in the inbox, and why."""

    path: Path
    rejection: Rejection


def scan(inbox: Path, settings: SpoolSettings, subfolder: str = "") -> Iterator[Candidate | Rejected]:
    """Yield every file in the inbox, in the order of names; a file or subfolder that vanishes meanwhile is passed over.

    A subfolder that may not be read is told of like a file, and stops nothing else.

    Raises:
        OSError: The inbox can't be listed, or the disk fails.
    """
    try:
        with os.scandir(inbox / subfolder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as fault:
        if not subfolder:
            raise
        if isinstance(fault, PermissionError):
            yield Rejected(inbox / subfolder, Rejection("not_readable", "the service's user may not look into it"))
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if settings.recursive and descend_into(entry.name):
                yield from scan(inbox, settings, os.path.join(subfolder, entry.name))
            continue
        rejection = reject_name(entry.name, settings)
        try:
            stat = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        rejection = rejection or reject_kind(stat.st_mode)
        path = Path(entry.path)
        if rejection:
            yield Rejected(path, rejection)
        else:
            yield Candidate(path, os.fsencode(entry.name), os.fsencode(subfolder), stat)
