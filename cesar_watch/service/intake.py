"""The intake: rescan, settle, claim. One loop; file events merely wake it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

from cesar_watch.core.durable import make_dirs
from cesar_watch.core.errors import AttemptError
from cesar_watch.core.instance import is_remote
from cesar_watch.core.job import Job, State
from cesar_watch.intake.claim import claim
from cesar_watch.intake.scan import Candidate, Rejected, scan
from cesar_watch.intake.settle import SettleTracker
from cesar_watch.intake.watch import Watcher
from cesar_watch.service import recovery
from cesar_watch.service.announce import announce, free_bases
from cesar_watch.service.house import House

log = logging.getLogger(__name__)

SHORTEST_TURN_S = 0.2
"""A burst of events costs one look at the inbox in this time, not one each."""


class Intake:
    """Owned by the intake thread.

    After each look, `settling` is how many recordings are about to be claimed, and `stuck` how many wait
    for something else: empty, busy, not readable. None before the first look.
    """

    name = "intake"

    def __init__(self, house: House, *, wake: threading.Event, claimed: Callable[[], None] = lambda: None) -> None:
        self._house = house
        self._claimed = claimed
        self._tracker = SettleTracker()
        self._watcher = Watcher(house.spool.inbox, house.settings.spool, wake)
        self._told: set[Path] = set()
        self._interrupted = False
        self.settling: int | None = None
        self.stuck = 0

    def _quiet_s(self) -> float:
        spool = self._house.settings.spool
        return spool.quiet_remote_s if is_remote(self._house.spool.inbox) else spool.quiet_s

    def turn(self, now_s: float) -> float:
        """Look through the inbox once and claim what has settled. Returns the seconds until the next look.

        Raises:
            CesarError, OSError: A systemic fault: the spool is not there or can't be written.
        """
        house = self._house
        house.spool.check()
        if self._interrupted:
            house.prove()
        self._interrupted = True
        wait_s = self._look(now_s)
        self._interrupted = False
        return wait_s

    def _look(self, now_s: float) -> float:
        house = self._house
        if house.ledger.jobs([State.CLAIMING]):
            recovery.recover_claims(house)
        self._watcher.ensure()
        everything = list(scan(house.spool.inbox, house.settings.spool))
        self._told.intersection_update([found.path for found in everything])
        looks = [found for found in everything if self._is_candidate(found)]
        self._tracker.forget_all_but([found.path for found in looks])
        quiet_s, waits, stuck = self._quiet_s(), [house.settings.spool.rescan_s], 0
        for found in looks:
            wait_s = self._tracker.wait_s(found.path, found.stat, now_s, quiet_s)
            if wait_s > 0:
                waits.append(wait_s)
            if found.stat.st_size == 0 or (wait_s == 0 and not self._take(found)):
                stuck += 1
        self.settling, self.stuck = len(waits) - 1 - sum(found.stat.st_size == 0 for found in looks), stuck
        return max(SHORTEST_TURN_S, min(waits))

    def _take(self, candidate: Candidate) -> bool:
        """Claim one settled recording; return False when it has to wait."""
        house = self._house
        options = house.settings.job_options()
        bases = free_bases(house.spool, candidate.name, candidate.subfolder, options["output"]["formats"])
        try:
            self._see_output_dir(candidate)
            job: Job | None = claim(
                candidate,
                house.spool,
                house.ledger,
                options=options,
                bases=bases,
                announce=lambda job: announce(house, job),
                now=house.clock.now(),
            )
        except AttemptError as fault:
            self._tracker.restart(candidate.path)
            if candidate.path not in self._told:
                self._told.add(candidate.path)
                log.warning("%s", fault)
            return False
        if job is not None:
            self._told.discard(candidate.path)
            log.info("%s: claimed as job %s", job.display_name, job.job_id[:8])
            self._claimed()
        return True

    def _see_output_dir(self, candidate: Candidate) -> None:
        """Make the folder that mirrors the recording's own, before anything is moved.

        Raises:
            AttemptError: Somebody's file has its name: this recording waits, and the others go on.
        """
        folder = self._house.spool.outbox / os.fsdecode(candidate.subfolder)
        try:
            make_dirs(folder, below=self._house.spool.outbox)
        except (FileExistsError, NotADirectoryError):
            raise AttemptError(
                f"{_shown(candidate.path)} waits: its transcript belongs into {_shown(folder)}, but that is a file. "
                "Rename one of the two.",
                reason="outbox_blocked",
            ) from None

    def _is_candidate(self, found: Candidate | Rejected) -> TypeGuard[Candidate]:
        """Tell candidates from files that stay in the inbox, which are told of once each."""
        if isinstance(found, Candidate):
            return True
        if found.path not in self._told:
            self._told.add(found.path)
            # Temporary names of sync tools come and go by the hundred; nobody wants to read of them.
            level = logging.DEBUG if found.rejection.reason == "ignored_name" else logging.INFO
            log.log(level, "%s stays in the inbox: %s", _shown(found.path), found.rejection.message)
        return False

    def close(self) -> None:
        """Stop watching."""
        self._watcher.close()


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
