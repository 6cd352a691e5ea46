"""Which names and kinds of file are recordings, and which rule says no.

Nothing here opens a file: a verdict comes from the name and an `lstat` result alone, so a FIFO can't
block us and a symlink leads nowhere.
"""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass

from cesar_watch.core.companions import FOLDER_SETTINGS, SETTINGS_ENDING
from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.durable import TEMPORARY_PREFIX
from cesar_watch.core.globs import Globs
from cesar_watch.intake.ignored import IGNORED, SUSPECT


@dataclass(frozen=True)
class Rejection:
    """Why a file stays in the inbox: a stable reason code and the words for a person."""

    reason: str
    message: str


class _Table:
    """Globs with the words of whose names they are; those that end in `/` are for folders only."""

    def __init__(self, groups: tuple[tuple[str, tuple[str, ...]], ...], *, folder: bool) -> None:
        self._rows = [(glob, whose) for whose, globs in groups for glob in globs if folder or not glob.endswith("/")]
        self._globs = Globs([glob.removesuffix("/") for glob, _ in self._rows])

    def find(self, name: str) -> tuple[str, str] | None:
        """Return the first glob that fits, and whose it is."""
        index = self._globs.first_match(name)
        return None if index is None else self._rows[index]


_FILES, _FOLDERS = _Table(IGNORED, folder=False), _Table(IGNORED, folder=True)
_SUSPECTS = _Table(SUSPECT, folder=False)


def reject_name(name: str, settings: SpoolSettings) -> Rejection | None:
    """Return why a file of this name is never taken, or None when it may be a recording."""
    folded = name.casefold()
    if folded == FOLDER_SETTINGS:
        return Rejection("settings_file", "it holds settings for the recordings of its folder")
    if folded.endswith(SETTINGS_ENDING):
        recording = name[: -len(SETTINGS_ENDING)]
        return Rejection("settings_file", f"it holds settings for the recording {recording!r}, and goes with that")
    if settings.ready_marker and name.endswith(settings.ready_marker) and name != settings.ready_marker:
        recording = name[: -len(settings.ready_marker)]
        return Rejection("ready_marker", f"it says that the recording {recording!r} is whole, and goes with that")
    ignored = _ignored(name, settings, folder=False)
    if ignored:
        return ignored
    extension = os.path.splitext(folded)[1].lstrip(".")
    if extension not in settings.extensions:
        return Rejection("not_media", f"its ending {extension!r} is not in spool.extensions")
    return None


def reject_folder(name: str, settings: SpoolSettings) -> Rejection | None:
    """Return why a subfolder of this name is not looked into, or None when it is, with `spool.recursive`."""
    return _ignored(name, settings, folder=True)


def suspect(name: str, settings: SpoolSettings) -> str | None:
    """Return why a recording of this name has to wait longer than others, or None when it has not.

    In marker mode none has to, since its sender has named it.
    """
    if settings.ready_marker:
        return None
    found = _SUSPECTS.find(name)
    if found is None or _wish(name, tuple(settings.ignore), folder=False):
        return None
    glob, why = found
    return f"its name fits {glob!r}: {why}"


def reject_kind(mode: int) -> Rejection | None:
    """Return why a file of this `st_mode` is never taken; only regular files are."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_ISLNK: "a symbolic link", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    kind = next((words for test, words in kinds.items() if test(mode)), "a device")
    return Rejection("not_a_file", f"it is {kind}, not a file")


def _ignored(name: str, settings: SpoolSettings, *, folder: bool) -> Rejection | None:
    if name.startswith(TEMPORARY_PREFIX):
        return Rejection("our_own", f"names that begin with {TEMPORARY_PREFIX!r} are cesar-watch's own")
    wish = _wish(name, tuple(settings.ignore), folder=folder)
    if wish is not None:
        taken = wish.startswith("!")
        return None if taken else Rejection("ignored_name", f"its name fits {wish!r} in spool.ignore")
    found = (_FOLDERS if folder else _FILES).find(name)
    if found is None:
        return None
    glob, whose = found
    return Rejection(
        "ignored_name", f'its name fits {glob!r}, {whose}; "!{glob}" in spool.ignore takes such names all the same'
    )


def _wish(name: str, ignore: tuple[str, ...], *, folder: bool) -> str | None:
    """Return the entry of `spool.ignore` that decides about a name: the last that fits; None if none does."""
    if not ignore:
        return None
    entries, globs = _wishes(ignore, folder)
    index = globs.first_match(name)
    return None if index is None else entries[index]


@functools.lru_cache(maxsize=8)
def _wishes(ignore: tuple[str, ...], folder: bool) -> tuple[list[str], Globs]:
    entries = [entry for entry in reversed(ignore) if folder or not entry.endswith("/")]
    return entries, Globs([entry.removeprefix("!").removesuffix("/") for entry in entries])
