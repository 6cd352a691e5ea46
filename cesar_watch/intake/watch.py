"""File events as wake-ups. Losing every one of them costs latency, never a recording.

An observer may be alive while its emitters are dead (inbox removed and made again, a share's hiccup),
so it is the emitters that are asked.
"""

from __future__ import annotations

import logging
import threading
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
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

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


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake.set()


class Watcher:
    """Set `wake` whenever something happens in the inbox. Owned by the intake thread."""

    def __init__(self, inbox: Path, settings: SpoolSettings, wake: threading.Event) -> None:
        self._inbox = inbox
        self._recursive = settings.recursive
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._wanted = settings.watch_mode == "events" or (settings.watch_mode == "auto" and not is_remote(inbox))

    def ensure(self) -> None:
        """Start watching, or start again where it died; what can't be watched is polled, with one warning."""
        if not self._wanted or (self._observer is not None and self._alive(self._observer)):
            return
        self.close()
        if not self._inbox.is_dir():
            return  # it may come back
        observer = Observer()
        try:
            observer.schedule(_Waker(self._wake), str(self._inbox), recursive=self._recursive, event_filter=_EVENTS)
            observer.start()
        except FileNotFoundError:
            return
        except OSError as fault:
            self._wanted = False
            log.warning("No file events for %s (%s): it is polled instead.", self._inbox, fault.strerror)
            return
        self._observer = observer

    def close(self) -> None:
        """Stop watching and wait for the threads to end."""
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)
        self._observer = None

    @staticmethod
    def _alive(observer: BaseObserver) -> bool:
        return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)
