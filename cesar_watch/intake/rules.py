"""Which names and kinds of file are recordings, and which rule says no.

Nothing here opens a file: a verdict comes from the name and an `lstat` result alone, so a FIFO can't
block us and a symlink leads nowhere.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.durable import TEMPORARY_PREFIX


@dataclass(frozen=True)
class Rejection:
    """Why a file stays in the inbox: a stable reason code and the words for a person."""

    reason: str
    message: str


def reject_name(name: str, settings: SpoolSettings) -> Rejection | None:
    """Return why a file of this name is never taken, or None when it may be a recording."""
    if name.startswith(TEMPORARY_PREFIX):
        return Rejection("our_own", f"names that begin with {TEMPORARY_PREFIX!r} are cesar-watch's own")
    folded = name.casefold()
    for pattern in settings.ignore:
        if fnmatchcase(folded, pattern.casefold()):
            return Rejection("ignored_name", f"its name matches {pattern!r} in spool.ignore")
    extension = os.path.splitext(folded)[1].lstrip(".")
    if extension not in settings.extensions:
        return Rejection("not_media", f"its ending {extension!r} is not in spool.extensions")
    return None


def reject_kind(mode: int) -> Rejection | None:
    """Return why a file of this `st_mode` is never taken; only regular files are."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_ISLNK: "a symbolic link", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    kind = next((words for test, words in kinds.items() if test(mode)), "a device")
    return Rejection("not_a_file", f"it is {kind}, not a file")


def descend_into(name: str) -> bool:
    """Whether a subfolder of this name is looked into at all; hidden and system folders are not."""
    return not name.startswith((".", "@", "#", "$")) and name not in (
        "lost+found",
        "__MACOSX",
        "System Volume Information",
    )
