"""Settings, spool and ledger of one instance, opened in the one right order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cesar_watch.core.config import Settings
from cesar_watch.core.errors import SpoolError
from cesar_watch.core.instance import instance_lock, open_state, read_instance
from cesar_watch.core.ledger import Ledger
from cesar_watch.core.spool import Spool, read_marker


@dataclass(frozen=True)
class Clock:
    """Where the actors take their time from; tests pass one that they move by hand."""

    monotonic_s: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


@dataclass
class House:
    """What every actor shares. Only `settings` ever changes, replaced whole when they are read again."""

    settings: Settings
    spool: Spool
    ledger: Ledger
    clock: Clock = field(default_factory=Clock)


@contextlib.contextmanager
def open_house(settings: Settings, clock: Clock | None = None) -> Iterator[House]:
    """Own the instance for the length of the block: marker, state directory, lock, one mount, ledger.

    Raises:
        SpoolError, LedgerError, AlreadyRunning: It can't be used; nothing half-made stays behind.
    """
    root = settings.spool.root
    spool_id = read_marker(root)
    instance = open_state(settings.state_dir)
    with instance_lock(settings.state_dir):
        spool = Spool(root, instance, spool_id)
        spool.prove_one_mount()
        ledger = Ledger(settings.state_dir / "ledger.db", spool_id, owner=True)
        try:
            yield House(settings, spool, ledger, clock or Clock())
        finally:
            ledger.close()


@contextlib.contextmanager
def visit_house(settings: Settings) -> Iterator[House]:
    """Look at an instance, or ask something of it, without owning it.

    Raises:
        SpoolError, LedgerError: There is none, or it can't be read; nothing was made.
    """
    root = settings.spool.root
    spool_id = read_marker(root)
    if not (settings.state_dir / "ledger.db").exists():
        raise SpoolError(
            f"Nothing has run on the spool {root} yet: start `cesar-watch run` there first.", reason="never_ran"
        )
    spool = Spool(root, read_instance(settings.state_dir), spool_id)
    ledger = Ledger(settings.state_dir / "ledger.db", spool_id)
    try:
        yield House(settings, spool, ledger)
    finally:
        ledger.close()
