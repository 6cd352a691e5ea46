"""File events as wake-ups. Losing every one of them costs latency, never a recording.

An observer may be alive while its emitters are dead (inbox removed and made again, a share's hiccup),
so it is the emitters that are asked.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyObserver

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.instance import is_remote

log = logging.getLogger(__name__)

_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
"""No opened and no modified events: our own reading would wake us, and queues overflow sooner."""


_MOST_HINTS = 10_000
"""What comes beyond that between two looks is only taken a little later."""


@dataclass
class Hints:
    """What events told since the last look; they shorten waits and decide nothing."""

    moved_in: set[Path] = field(default_factory=set)
    closed: set[Path] = field(default_factory=set)


class _Waker(FileSystemEventHandler):
    """Called by the observer's thread, which must never wait."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake
        self.hints = Hints()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if isinstance(event, FileMovedEvent):
            if not event.dest_path:
                return  # moved out, by our own claim as a rule
            self._note(self.hints.moved_in, event.dest_path)
        elif isinstance(event, FileClosedEvent):
            self._note(self.hints.closed, event.src_path)
        self._wake.set()

    def _note(self, paths: set[Path], path: bytes | str) -> None:
        if len(paths) < _MOST_HINTS:
            paths.add(Path(os.fsdecode(path)))


class Watcher:
    """Set `wake` whenever something happens in the inbox. Owned by the intake thread."""

    def __init__(self, inbox: Path, settings: SpoolSettings, wake: threading.Event) -> None:
        self._inbox = inbox
        self._recursive = settings.recursive
        self._waker = _Waker(wake)
        self._observer: BaseObserver | None = None
        self._wanted = settings.watch_mode == "events" or (settings.watch_mode == "auto" and not is_remote(inbox))

    def ensure(self) -> None:
        """Start watching, or start again where it died; what can't be watched is polled, with one warning."""
        if not self._wanted or (self._observer is not None and self._alive(self._observer)):
            return
        self.close()
        if not self._inbox.is_dir():
            return  # it may come back
        # Full events: else a file that is moved in from elsewhere looks like one that is being made.
        observer = InotifyObserver(generate_full_events=True)
        try:
            observer.schedule(self._waker, str(self._inbox), recursive=self._recursive, event_filter=_EVENTS)
            observer.start()
        except FileNotFoundError:
            return
        except OSError as fault:
            self._wanted = False
            log.warning("No file events for %s (%s): it is polled instead.", self._inbox, fault.strerror)
            return
        self._observer = observer

    def hints(self) -> Hints:
        """Return what events told since the last call."""
        hints, self._waker.hints = self._waker.hints, Hints()
        return hints

    def close(self) -> None:
        """Stop watching and wait for the threads to end."""
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)
        self._observer = None

    @staticmethod
    def _alive(observer: BaseObserver) -> bool:
        return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)
