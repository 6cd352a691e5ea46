"""The intake: rescan, settle, claim. One loop; file events merely wake it."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

from cesar_watch.core.durable import make_dirs
from cesar_watch.core.errors import AttemptError, Unfinished
from cesar_watch.core.job import FileIdentity, State
from cesar_watch.core.mounts import Mounts
from cesar_watch.intake.claim import claim
from cesar_watch.intake.copying import Poll, claim_copy
from cesar_watch.intake.lookout import Lookout
from cesar_watch.intake.overrides import resolve, settings_files
from cesar_watch.intake.probe import UNKNOWN
from cesar_watch.intake.ready import announced_by, promise_of
from cesar_watch.intake.rules import suspect
from cesar_watch.intake.scan import Candidate, Rejected
from cesar_watch.intake.settle import SETTLING, SettleTracker, Windows
from cesar_watch.intake.watch import Watcher
from cesar_watch.intake.whole import examine
from cesar_watch.service import recovery
from cesar_watch.service.announce import announce, free_bases
from cesar_watch.service.house import House
from cesar_watch.service.sources import Sources

log = logging.getLogger(__name__)

_NOT_WORTH_A_LINE = ("ignored_name", "our_own", "settings_file", "ready_marker")
SHORTEST_TURN_S = 0.2
"""A file that keeps changing costs one look at the inbox in this time."""


class Intake:
    """Owned by the intake thread.

    After each look, `settling` is how many recordings are about to be claimed, None before the first; and `parked` how
    many wait for what else, by reason: `empty`, `short`, `being_written`, `not_readable` ...

    Args:
        claimed: Called after each claim.
        poll: Called again and again while a recording is read.
    """

    name = "intake"

    def __init__(
        self,
        house: House,
        *,
        wake: threading.Event,
        claimed: Callable[[], None] = lambda: None,
        mounts: Callable[[], Mounts] = Mounts.now,
        watcher: Watcher | None = None,
        poll: Poll = lambda: None,
    ) -> None:
        self._house = house
        self._claimed = claimed
        self._sources = Sources(house, poll)
        self._claim = functools.partial(claim_copy, poll=poll) if house.spool.is_inbox_foreign else claim
        self._tracker = SettleTracker(Windows.of(house.settings.spool, is_remote=False))
        self._settings_tracker = SettleTracker(self._tracker.windows)
        self._lookout = Lookout(house.spool.inbox, watcher or Watcher(wake), house.clock.monotonic_s, mounts)
        self._told: set[Path] = set()
        self._interrupted = False
        self.settling: int | None = None
        self.parked: dict[str, int] = {}

    def turn(self, now_s: float) -> float:
        """Look through the inbox once and claim what has settled. Returns the seconds until the next look.

        Raises:
            CesarError, OSError: A systemic fault: the spool is not there or can't be written.
        """
        house = self._house
        rest_s = self._lookout.rest_s(now_s)
        if rest_s > 0:
            return rest_s
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
        self._sources.look()
        spool = house.settings.spool
        looks, others, told = [], list[Rejected](), set()
        for found in self._lookout.look(spool, now_s):
            if isinstance(found, Rejected):
                others.append(found)
                self._tell_of(found)
            elif not self._sources.knows(found):
                looks.append(found)
            if found.path in self._told:
                told.add(found.path)
        self._told = told
        self._tracker.forget_all_but([found.path for found in looks])
        held_s = self._settings_files(others, now_s)
        hints = self._lookout.hints
        waits = [self._lookout.next_s(spool, now_s)]
        for found in looks:
            self._tracker.windows = Windows.of(spool, is_remote=found.is_remote)
            wait_s = self._tracker.look(
                found.path,
                found.stat,
                now_s,
                least_s=spool.quiet_suspect_s if suspect(found.path.name, spool) else 0.0,
                moved_in=found.path in hints.moved_in,
                closed=found.path in hints.closed,
                promise=promise_of(found.path, found.stat, spool.ready_marker),
            )
            if held_s:
                files = settings_files(house.spool.inbox, found.subfolder, found.path)
                wait_s = max(wait_s, *(held_s.get(path, 0.0) for path in files))
            waits.append(wait_s or self._try(found, now_s))
        reasons = self._tracker.reasons()
        self.settling = reasons.pop(SETTLING, 0)
        self.parked = dict(sorted(reasons.items()))
        return max(SHORTEST_TURN_S, min(waits))

    def _settings_files(self, others: list[Rejected], now_s: float) -> dict[Path, float]:
        """Return how long each settings file must still stay unchanged: what it is for waits for it."""
        tracker, held_s = self._settings_tracker, {}
        for found in others:
            if found.rejection.reason == "settings_file":
                tracker.windows = Windows.of(self._house.settings.spool, is_remote=found.is_remote)
                moved_in = found.path in self._lookout.hints.moved_in
                with contextlib.suppress(FileNotFoundError):
                    stat = os.lstat(found.path)
                    wait_s = tracker.look(found.path, stat, now_s, moved_in=moved_in, may_be_empty=True)
                    held_s[found.path] = wait_s or tracker.weigh(found.path, UNKNOWN, now_s)
        tracker.forget_all_but(held_s)
        return held_s

    def _try(self, candidate: Candidate, now_s: float) -> float:
        """Look into a recording that has not changed for a while, and claim it if it is whole.

        Returns the seconds until it is looked into again; endless where it is ours or gone.
        """
        if self._sources.must_wait(candidate):
            return self._house.settings.spool.rescan_s
        try:
            verdict = examine(candidate.path, FileIdentity.of(candidate.stat), is_remote=candidate.is_remote)
            wait_s = self._tracker.weigh(candidate.path, verdict, now_s)
            if wait_s > 0:
                return wait_s
            if not self._sources.recognises(candidate):
                self._take(candidate)
        except AttemptError as fault:
            return self._put_off(candidate, fault, now_s)
        except FileNotFoundError:
            if self._house.spool.holds(candidate.path):
                raise
        self._tracker.restart(candidate.path)
        return math.inf

    def _put_off(self, candidate: Candidate, fault: AttemptError, now_s: float) -> float:
        if fault.reason == "changed":
            self._tracker.restart(candidate.path)
            return 0.0
        wait_s = self._tracker.park(candidate.path, fault.reason, now_s)
        if candidate.path not in self._told and self._tracker.is_parked(candidate.path):
            self._told.add(candidate.path)
            log.log(logging.INFO if isinstance(fault, Unfinished) else logging.WARNING, "%s", fault)
        return wait_s

    def _take(self, candidate: Candidate) -> None:
        """Claim one settled recording.

        Raises:
            AttemptError: It has to wait.
        """
        house = self._house
        inbox = house.spool.inbox
        resolved = resolve(house.settings, inbox, candidate.subfolder, candidate.name, candidate.path)
        formats = resolved.options["output"]["formats"]
        # In an inbox of somebody else's it stays, as the recording does.
        marker = "" if house.spool.is_inbox_foreign else house.settings.spool.ready_marker
        self._see_output_dir(candidate)
        job = self._claim(
            candidate,
            house.spool,
            house.ledger,
            options=announced_by(marker, resolved.options),
            fault=resolved.fault,
            bases=free_bases(house.spool, candidate.name, candidate.subfolder, formats),
            announce=lambda job: announce(house, job),
            now=house.clock.now(),
        )
        if job is not None:
            self._told.discard(candidate.path)
            self._sources.took(candidate)
            log.info("%s: claimed as job %s", job.display_name, job.job_id[:8])
            self._claimed()

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

    def _tell_of(self, found: Rejected) -> None:
        """Tell of a file that stays in the inbox, once."""
        if found.by_name or found.path not in self._told:
            if not found.by_name:
                self._told.add(found.path)
            # Temporary names of sync tools come and go by the hundred; nobody wants to read of them.
            level = logging.DEBUG if found.rejection.reason in _NOT_WORTH_A_LINE else logging.INFO
            log.log(level, "%s stays in the inbox: %s", _shown(found.path), found.rejection.message)

    def close(self) -> None:
        """Stop watching."""
        self._lookout.close()


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
