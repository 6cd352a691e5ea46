"""File events as wake-ups. Losing every one of them costs latency, never a recording.

One inotify instance and one thread for the whole inbox (watchdog's `InotifyFD`), one watch a folder: each look through
the inbox says which folders there are, so a folder that came, moved, or was made again is watched from then on.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.durable import TEMPORARY_PREFIX

log = logging.getLogger(__name__)

_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
)
"""No opened and no modified events: our own reading would wake us, and queues overflow sooner."""

_MOST_HINTS = 10_000
"""What comes beyond that between two looks is only taken a little later."""

AGAIN_S = 300.0
"""After the kernel refused a watch it is asked again in this time."""

_LIMITS = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches (sysctl)",
    errno.EMFILE: "raise fs.inotify.max_user_instances (sysctl), or LimitNOFILE of the service",
}


@dataclass
class Hints:
    """What events told since the last look; they shorten waits and decide nothing."""

    moved_in: set[Path] = field(default_factory=set)
    closed: set[Path] = field(default_factory=set)


@dataclass
class _Sink:
    """Where all events end."""

    wake: threading.Event
    hints: Hints = field(default_factory=Hints)


class _FolderWatch:
    """The watch on one folder. The `on_` methods are called by the reader's thread, which must never wait."""

    def __init__(self, folder: Path, identity: tuple[int, int], sink: _Sink) -> None:
        self.identity = identity
        self.descriptor = WatchDescriptor(-1)
        self.is_alive = True
        self._folder = folder
        self._sink = sink

    @property
    def key(self) -> CallbackId:
        return CallbackId(id(self))

    def on_event(self, event: InotifyEvent) -> None:
        if event.is_move_self:
            self.is_alive = False
        name = os.fsdecode(event.name)
        if name.startswith(TEMPORARY_PREFIX):
            return
        if not event.is_directory and event.is_moved_to:
            self._note(self._sink.hints.moved_in, name)
        elif not event.is_directory and event.is_close_write:
            self._note(self._sink.hints.closed, name)
        self._sink.wake.set()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The folder was removed or unmounted, or we let go of it."""
        if self.is_alive:
            self.is_alive = False
            self._sink.wake.set()

    def on_queue_overflow(self) -> None:
        """The kernel dropped events."""
        self._sink.wake.set()

    def _note(self, paths: set[Path], name: str) -> None:
        if len(paths) < _MOST_HINTS:
            paths.add(self._folder / name)


class Watcher:
    """Set `wake` whenever something happens in a watched folder. Owned by the intake thread.

    A look through the inbox is framed by `begin` and `end`; in between, `enter` is told of each folder before it is
    listed, so that nothing can come between the list and the watch.
    """

    def __init__(self, wake: threading.Event) -> None:
        self._sink = _Sink(wake)
        self._reader: InotifyFD | None = None
        self._watches: dict[Path, _FolderWatch] = {}
        self._watched: set[Path] = set()
        self._is_all_watched = True
        self._mode = "auto"
        self._now_s = 0.0
        self._refused_until_s: float | None = None
        self._is_refused = False

    def begin(self, spool: SpoolSettings, now_s: float) -> Hints:
        """Begin a look; a reader that died is replaced. Returns what events told since the last look."""
        self._mode, self._now_s = spool.watch_mode, now_s
        self._watched = set()
        self._is_all_watched, self._is_refused = True, False
        if self._reader is not None and not self._reader.is_alive():
            log.warning("The thread that reads file events ended by an unexpected error; it is started again.")
            self.close()
        # Taken before anything is listed: what a hint is about is seen in this look, and no hint is lost.
        hints, self._sink.hints = self._sink.hints, Hints()
        return hints

    def enter(self, folder: Path, is_remote: bool) -> None:
        """Watch a folder that is about to be listed, if it is to be watched; what can't be is polled."""
        is_wanted = self._mode == "events" or (self._mode == "auto" and not is_remote)
        if is_wanted and self._is_watched(folder):
            self._watched.add(folder)
        else:
            self._is_all_watched = False

    def end(self) -> bool:
        """End a look; folders that are gone are let go. Returns whether all that were entered are watched."""
        for gone in self._watches.keys() - self._watched:
            self._let_go(gone)
        if self._refused_until_s is not None and not self._is_refused:
            self._refused_until_s = None
            log.info("The whole inbox has file events again.")
        return self._is_all_watched

    def close(self) -> None:
        """Stop watching and wait for the thread to end."""
        for watch in self._watches.values():
            watch.is_alive = False  # so that nobody is woken by it
        self._watches = {}
        if self._reader is not None:
            self._reader.stop()
            self._reader.join(timeout=5)
        self._reader = None

    def _is_watched(self, folder: Path) -> bool:
        """Whether the folder that has this name now is watched; made so if it can be."""
        try:
            stat = os.stat(folder)
        except OSError:
            return False  # listing it will say the same
        identity, watch = (stat.st_dev, stat.st_ino), self._watches.get(folder)
        if watch is not None:
            if watch.is_alive and watch.identity == identity:
                return True
            self._let_go(folder)
        return self._watch(folder, identity)

    def _watch(self, folder: Path, identity: tuple[int, int]) -> bool:
        if self._is_refused or (self._refused_until_s is not None and self._now_s < self._refused_until_s):
            self._is_refused = True
            return False
        watch = _FolderWatch(folder, identity, self._sink)
        try:
            if self._reader is None:
                self._reader = _start()
            watch.descriptor = self._reader.add_callback(os.fsencode(folder), _MASK, watch, watch.key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as fault:
            self._refuse(fault)
            return False
        self._watches[folder] = watch
        if watch.descriptor == -1:
            self._let_go(folder)  # it may not be read, which watchdog passes over in silence
            return False
        return True

    def _refuse(self, fault: OSError) -> None:
        """Poll what the kernel won't watch, and ask again later."""
        if self._refused_until_s is None:
            remedy = _LIMITS.get(fault.errno or 0)
            log.warning(
                "No file events for a part of the inbox (%s): it is polled instead%s.",
                fault.strerror or fault,
                f"; {remedy}" if remedy else "",
            )
        self._refused_until_s = self._now_s + AGAIN_S
        self._is_refused = True

    def _let_go(self, folder: Path) -> None:
        watch = self._watches.pop(folder)
        watch.is_alive = False
        if self._reader is not None:
            self._reader.remove_callbacks([(watch.descriptor, watch.key)])


def _start() -> InotifyFD:
    reader = InotifyFD()
    reader.start()
    return reader
