"""Settings, spool and ledger of one instance, opened in the one right order."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cesar_watch.core.ballast import Ballast
from cesar_watch.core.config import Settings
from cesar_watch.core.errors import LedgerError, SpoolError, folder_fault
from cesar_watch.core.instance import instance_lock, make_state_dir, open_instance, read_instance
from cesar_watch.core.ledger import Ledger
from cesar_watch.core.ledger_file import set_aside
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.spool import Spool, read_marker
from cesar_watch.speech.measured import best, read_measured

log = logging.getLogger(__name__)

LEDGER = "ledger.db"
"""The ledger's name in the state directory."""


@dataclass(frozen=True)
class Clock:
    """Where the actors take their time from; tests pass one that they move by hand."""

    monotonic_s: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


@dataclass
class House:
    """What every actor shares. Only `settings` ever changes, replaced whole when they are read again.

    `comparing` is held from the look for a job's twin until it waits for that: else two copies would wait for each
    other.
    """

    settings: Settings
    spool: Spool
    ledger: Ledger
    ballast: Ballast
    clock: Clock = field(default_factory=Clock)
    comparing: threading.Lock = field(default_factory=threading.Lock)

    def prove(self) -> None:
        """See that work can go on after a fault: that all rooms and the ledger take what is written into them.

        Any thread may call it.

        Raises:
            SpoolError, LedgerError: They don't; nothing stays of the proof.
        """
        # First, since on a full disk the proof itself would eat up what the ballast freed.
        self.ballast.restore()
        self.spool.prove()
        self.ledger.prove(self.clock.now())

    def usual_rtf(self, options: Mapping[str, Any]) -> float | None:
        """Return the real-time factor to expect with a job's engine options; None while nothing is known.

        That of the last recordings with this model, or else what `bench` has measured.
        """
        usual = self.ledger.usual_rtf(options.get("model", ""))
        if usual is not None:
            return usual
        known = {key: value for key, value in options.items() if key in EngineSettings.model_fields}
        measured = best(read_measured(self.settings.state_dir), self.settings.engine.model_copy(update=known))
        return None if measured is None else measured.rtf


@contextlib.contextmanager
def open_house(settings: Settings, clock: Clock | None = None, *, anew: bool = False) -> Iterator[House]:
    """Own the instance for the length of the block: marker, state directory, lock, one mount, ledger.

    A damaged ledger is set aside, never deleted, and a new one made, which recovery fills from the folders.

    Args:
        anew: Set the ledger aside whatever it is, also one of another spool or program.

    Raises:
        SpoolError, LedgerError, AlreadyRunning: It can't be used; nothing half-made stays behind.
    """
    root = settings.spool.root
    spool_id = read_marker(root)
    make_state_dir(settings.state_dir)
    with instance_lock(settings.state_dir):
        spool = _spool(settings, open_instance(settings.state_dir), spool_id)
        spool.prove_one_mount()
        clock = clock or Clock()
        ledger = _own_ledger(settings.state_dir / LEDGER, spool_id, clock.now(), anew=anew)
        try:
            yield House(settings, spool, ledger, Ballast(settings.state_dir), clock)
        finally:
            ledger.close()


def _spool(settings: Settings, instance: str, spool_id: str) -> Spool:
    spool = settings.spool
    return Spool(spool.root, instance, spool_id, is_inbox_foreign=spool.claim == "copy", inbox_elsewhere=spool.inbox)


def _own_ledger(path: Path, spool_id: str, now: datetime, *, anew: bool) -> Ledger:
    try:
        if anew:
            kept = set_aside(path, "replaced", now)
            log.warning("The old ledger is kept as %s." if kept else "There is no ledger at %s.", kept or path)
        try:
            return Ledger(path, spool_id, owner=True)
        except LedgerError as fault:
            if fault.reason != "ledger_damaged":
                raise
            kept = set_aside(path, "damaged", now)
            log.warning("%s It is kept as %s.", fault, kept)
        return Ledger(path, spool_id, owner=True)
    except OSError as fault:
        raise folder_fault(fault) from None


@contextlib.contextmanager
def visit_house(settings: Settings, *, asking: bool = False) -> Iterator[House]:
    """Look at an instance without owning it; nothing on the disk is made or changed.

    Args:
        asking: Something is to be asked of the owner, or its notices changed: the ledger is opened for writing.

    Raises:
        SpoolError, LedgerError: There is none, or it can't be read; nothing was made.
    """
    root = settings.spool.root
    spool_id = read_marker(root)
    if not (settings.state_dir / "instance").exists():
        raise SpoolError(
            f"Nothing has run on the spool {root} yet: start `cesar-watch run` there first.", reason="never_ran"
        )
    spool = _spool(settings, read_instance(settings.state_dir), spool_id)
    ledger = Ledger(settings.state_dir / LEDGER, spool_id, reading=not asking)
    try:
        yield House(settings, spool, ledger, Ballast(settings.state_dir))
    finally:
        ledger.close()
