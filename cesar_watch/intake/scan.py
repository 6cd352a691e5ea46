"""Look through the inbox: the one truth about what is there.

File events only wake the caller; start-up, steady state and lost events all come through here. A look lists names and
asks for the `lstat` of recordings only: what a name alone rules out is judged once, and remembered by its name; but for
settings files, which the caller looks at each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.mounts import Mounts
from cesar_watch.intake.rules import Rejection, reject_folder, reject_kind, reject_name

_TOO_DEEP = Rejection("too_deep", "its path is too long to be mirrored in the other rooms")
_DEEPEST_BYTES = 4096 - 512
"""A path has at most 4096 bytes (PATH_MAX); this leaves room for a longer room and for the longest name."""


@dataclass(frozen=True)
class Candidate:
    """A recording seen in the inbox, not yet settled. Names are raw bytes; `subfolder` is relative to the inbox."""

    path: Path
    name: bytes
    subfolder: bytes
    stat: os.stat_result
    is_remote: bool = False


@dataclass(frozen=True)
class Rejected:
    """A file that stays in the inbox, and why; `by_name` if a `Scanner` tells of it once only."""

    path: Path
    rejection: Rejection
    by_name: bool = False
    is_remote: bool = False


_IN_SUBFOLDER = Rejection("in_subfolder", "it is a subfolder; spool.recursive = true looks into those")

Enter = Callable[[Path, bool], None]
"""Is told of each folder right before it is listed, and whether it lies on a network mount."""


Listing = Callable[[Path], AbstractContextManager[Iterator[os.DirEntry[str]]]]


def _nobody(_folder: Path, _is_remote: bool) -> None:
    pass


class Scanner:
    """Look through one inbox again and again. Owned by one thread.

    Args:
        listing: Lists a folder; only tests need another one.
    """

    def __init__(self, inbox: Path, *, listing: Listing | None = None) -> None:
        self._inbox = inbox
        self._listing = listing or os.scandir
        self._settings: SpoolSettings | None = None
        self._rejected: dict[str, set[str]] = {}
        self._listed: set[str] = set()

    def look(
        self, settings: SpoolSettings, *, enter: Enter = _nobody, mounts: Mounts | None = None
    ) -> Iterator[Candidate | Rejected]:
        """Yield every recording, in the order of names; and what is rejected for its name, by the first look only.

        What is rejected for anything else is told each time: a subfolder that may not be read, a link; and settings
        files are, since recordings wait for them. A file or subfolder that vanishes meanwhile is passed over.

        Raises:
            OSError: The inbox can't be listed, or the disk fails. The next look sees everything again.
        """
        if settings != self._settings:
            self._settings, self._rejected = settings, {}
        self._listed = set()
        mounts = mounts or Mounts.now()
        yield from self._folder("", settings, enter, mounts, os.path.realpath(self._inbox))
        for gone in self._rejected.keys() - self._listed:
            del self._rejected[gone]

    def _folder(
        self, subfolder: str, settings: SpoolSettings, enter: Enter, mounts: Mounts, real: str
    ) -> Iterator[Candidate | Rejected]:
        folder = self._inbox / subfolder
        is_remote = mounts.is_remote(os.path.join(real, subfolder) if subfolder else real)
        enter(folder, is_remote)
        try:
            entries = self._list(folder, subfolder)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as fault:
            if not subfolder:
                raise
            if isinstance(fault, PermissionError):
                yield Rejected(folder, Rejection("not_readable", "the service's user may not look into it"))
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                rejection = _reject_place(entry, settings)
                if rejection:
                    yield Rejected(Path(entry.path), rejection)
                elif not reject_folder(entry.name, settings):
                    yield from self._folder(os.path.join(subfolder, entry.name), settings, enter, mounts, real)
                continue
            rejection = reject_name(entry.name, settings)
            if rejection:
                told_once = rejection.reason != "settings_file"
                if told_once:
                    self._rejected[subfolder].add(entry.name)
                yield Rejected(Path(entry.path), rejection, by_name=told_once, is_remote=is_remote)
                continue
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            rejection = reject_kind(stat.st_mode)
            if rejection:
                yield Rejected(Path(entry.path), rejection)
            else:
                yield Candidate(Path(entry.path), os.fsencode(entry.name), os.fsencode(subfolder), stat, is_remote)

    def _list(self, folder: Path, subfolder: str) -> list[os.DirEntry[str]]:
        """Return what is in a folder, but for files whose names were rejected before, in the order of names."""
        known = self._rejected.get(subfolder, set())
        fresh: list[os.DirEntry[str]] = []
        rejected: list[str] = []
        with self._listing(folder) as listing:
            for entry in listing:
                if entry.name in known and not entry.is_dir(follow_symlinks=False):
                    rejected.append(entry.name)
                else:
                    fresh.append(entry)
        # What is gone is forgotten, so that memory stays bounded.
        self._rejected[subfolder] = known if len(rejected) == len(known) else set(rejected)
        self._listed.add(subfolder)
        fresh.sort(key=lambda entry: entry.name)
        return fresh


def _reject_place(folder: os.DirEntry[str], settings: SpoolSettings) -> Rejection | None:
    """Return why a subfolder that its name does not rule out is not looked into because of where it lies."""
    if reject_folder(folder.name, settings):
        return None
    if not settings.recursive:
        return _IN_SUBFOLDER
    return _TOO_DEEP if len(os.fsencode(folder.path)) > _DEEPEST_BYTES else None


def scan(inbox: Path, settings: SpoolSettings) -> Iterator[Candidate | Rejected]:
    """Look through the inbox once: yield every file in it, in the order of names.

    Raises:
        OSError: As `Scanner.look`.
    """
    return Scanner(inbox).look(settings)
