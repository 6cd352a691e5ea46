"""One attempt at one job, from lease to outcome.

The attempt was counted when the lease was taken, before anything is decoded. Whatever happens here
ends in exactly one of: completed, duplicate, failed, cancelled, pending again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cesar_watch.core.errors import AttemptError, CesarError, EngineLost, Kind, LeaseLost, SpoolError, folder_fault
from cesar_watch.core.humanize import duration
from cesar_watch.core.job import Event, Job, Request, State
from cesar_watch.core.transcript import Transcript
from cesar_watch.service import endings, retrying
from cesar_watch.service.announce import announce
from cesar_watch.service.duplicates import find_twin
from cesar_watch.service.house import House
from cesar_watch.service.identify import identified, see_unchanged
from cesar_watch.service.pace import Pace
from cesar_watch.service.taken_over import is_taken_over
from cesar_watch.speech.checkpoint import Checkpoint, fingerprint
from cesar_watch.speech.protocol import CONCLUDED, Engine, Loaded
from cesar_watch.speech.quality import judge
from cesar_watch.speech.transcribe import Progress, transcribe

log = logging.getLogger(__name__)

STOP_GRACE_S = 15.0
"""How long a graceful stop waits for the running windows; the service must be gone after 30 s."""
HEARTBEAT_S = 5.0


class CancelAsked(Exception):
    """A person cancelled the job while it was being worked on."""


class TooLateToFinish(Exception):
    """The service is stopping, and the running windows take too long: what the attempt has done is kept."""


@dataclass
class Stop:
    """Since when the service is stopping, in monotonic seconds; None while it is not."""

    since_s: float | None = None


class Attempt:
    """Work on one leased job. Owned by a worker's thread; used once.

    Args:
        beat: Called whenever the attempt shows that it is alive.
        loaded: Takes what the engine says of a model that was loaded.
        durable: Called after each window that has become durable, with the job as it is then; returns whether another
            job is to have the place.
        lost: Called where the engine died over this job, or over another one.
    """

    def __init__(
        self,
        house: House,
        engine: Engine,
        job: Job,
        *,
        stop: Stop,
        beat: Callable[[], None],
        loaded: Callable[[Loaded], None],
        durable: Callable[[Job], bool],
        lost: Callable[[Job], None],
    ) -> None:
        self._house = house
        self._engine = engine
        self._job = job
        self._stop = stop
        self._beat = beat
        self._loaded = loaded
        self._durable = durable
        self._lost = lost
        self._gives_way = False
        self._timeout_s = job.options["engine"].get("timeout_s", house.settings.engine.timeout_s)
        started_s = house.clock.monotonic_s()
        sidecar_every_s = job.options["output"].get("sidecar_every_s", house.settings.output.sidecar_every_s)
        self._pace = Pace(started_s, sidecar_every_s, house.usual_rtf(job.options["engine"]))
        self._started_s = started_s
        self._heartbeat_s = started_s
        self._sidecar_is_stale = False
        self._seen: Progress | None = None
        self._stored: Progress | None = None
        self._windows_before = 0

    def run(self) -> Job:
        """Carry the attempt out and return the job as it stands then.

        Raises:
            CesarError: Systemic, with the attempt handed back where the ledger could still be written.
            LeaseLost: Somebody else has the job; nothing was touched.
        """
        try:
            return self._worked_on()
        except CancelAsked:
            return endings.cancel(self._house, self._fresh())
        except TooLateToFinish:
            return retrying.release(self._house, self._fresh(), "stopped")
        except LeaseLost:
            raise
        except CesarError as fault:
            return self._broken_off(fault)
        except OSError as fault:
            # Everything inside the recording is read by the engine or wrapped where it is read, so
            # an operating-system error that arrives here came from one of our own folders.
            return self._failed(folder_fault(fault))
        except Exception as fault:
            log.exception("%s: an unexpected error; please report it", self._job.display_name)
            message = f"An unexpected error ended the attempt ({type(fault).__name__}: {fault}). Please report it."
            return self._failed(AttemptError(message, reason="internal"))

    def _worked_on(self) -> Job:
        """Transcribe a recording that is new; of another, end the job as a duplicate, or let it wait for the first."""
        source = self._job.source_path(self._house.spool.root)
        log.info("%s: attempt %d begins", self._job.display_name, self._job.attempts)
        self._job, cut_short = identified(self._house, self._job, source, self._poll)
        self._write_sidecar()
        with self._house.comparing:
            twin = find_twin(self._house, self._job)
            if twin is not None and twin.state is not State.COMPLETED:
                see_unchanged(source, self._job.identity)
                return retrying.wait_for(self._house, self._fresh(), twin)
        if twin is None:
            return endings.complete(self._house, *self._transcribed(source, cut_short))
        see_unchanged(source, self._job.identity)
        return endings.recognise(self._house, self._fresh(), twin)

    def _broken_off(self, fault: CesarError) -> Job:
        if fault.reason == CONCLUDED and self._is_ending is not None:
            return retrying.release(self._house, self._fresh(), self._is_ending)
        if fault.reason == EngineLost.reason:
            self._lost(self._job)
        return self._failed(fault)

    def _fresh(self) -> Job:
        """Return the job as it stands now, with what people asked for meanwhile.

        Raises:
            LeaseLost: It is somebody else's by now.
        """
        job = self._house.ledger.get(self._job.job_id)
        if job.lease != self._job.lease:
            raise LeaseLost(f"Job {job.job_id} was taken over; this attempt ends without a trace.")
        return job

    def _transcribed(self, source: Path, cut_short: bool) -> tuple[Job, Transcript]:
        checkpoint = Checkpoint.open(source.parent, fingerprint(self._job.options["engine"], self._job.sha256 or ""))
        transcript = transcribe(
            self._engine,
            source,
            checkpoint,
            self._job.options["engine"],
            accept_short=self._house.settings.spool.short == "transcribe",
            priority=self._job.priority,
            seq=self._job.seq,
            on_progress=self._progress,
            on_loaded=self._loaded,
            poll=self._poll,
            is_ending=lambda: self._is_ending is not None,
        )
        see_unchanged(source, self._job.identity)
        quality = judge(transcript, cut_short=cut_short)
        took_s = self._house.clock.monotonic_s() - self._started_s
        job = self._house.ledger.apply(
            self._fresh(),
            Event.TRANSCRIBED,
            self._house.clock.now(),
            duration_s=transcript.duration_s,
            language=transcript.language,
            language_probability=transcript.language_probability,
            quality=quality.model_dump(mode="json"),
            rtf=self._pace.rtf(took_s, transcript.duration_s),
        )
        return job, transcript

    def _poll(self) -> None:
        """Show life, and look whether to go on; called at least every half second."""
        self._beat()
        now_s = self._house.clock.monotonic_s()
        if self._stop.since_s is not None and now_s - self._stop.since_s > STOP_GRACE_S:
            raise TooLateToFinish
        if self._timeout_s and now_s - self._started_s > self._timeout_s:
            raise AttemptError(
                f"The attempt took longer than {duration(self._timeout_s)} (engine.timeout_s): raise the limit, or "
                "use a smaller model.",
                reason="timeout",
            )
        if self._fresh().request is Request.CANCEL:
            raise CancelAsked
        if self._sidecar_is_stale and self._pace.sidecar_due(now_s):
            if self._stored is not self._seen:
                self._store()
            self._write_sidecar()
        elif now_s - self._heartbeat_s >= HEARTBEAT_S:
            self._store()

    @property
    def _is_ending(self) -> str | None:
        """Why no further window is to be begun; None where there is no reason."""
        if self._stop.since_s is not None:
            return "stopped"
        return "gave_way" if self._gives_way else None

    def _progress(self, progress: Progress) -> None:
        """Take note of how far the work is; a window that has become durable is stored at once."""
        before, self._seen = self._seen, progress
        self._pace.seen(progress.heard_s, self._house.clock.monotonic_s())
        self._sidecar_is_stale = True
        if before is None:
            self._windows_before = progress.windows
            self._store()
        elif progress.windows > before.windows:
            self._store()
            self._gives_way |= self._durable(self._job)
        self._poll()

    def _store(self) -> None:
        """Commit that the attempt lives, and how far it is. A durable window pays for the attempts before it.

        So only attempts and interruptions in a row without a single new window use a recording's attempts up.
        """
        now_s, now = self._house.clock.monotonic_s(), self._house.clock.now()
        changes: dict[str, Any] = {}
        if (seen := self._seen) is not None:
            remaining_s = self._pace.remaining_s(seen.heard_s, seen.expected_s)
            changes = {
                "progress": self._pace.percent(seen.heard_s, seen.expected_s),
                "estimated_completion_at": None if remaining_s is None else now + timedelta(seconds=remaining_s),
                "duration_s": seen.declared_s,
                "done_s": seen.done_s,
            }
            if seen.windows > self._windows_before:
                changes |= {"attempts": 1, "interruptions": 0}
        self._job = self._house.ledger.update(self._job, now, **changes)
        self._heartbeat_s, self._stored = now_s, self._seen

    def _write_sidecar(self) -> None:
        self._job = announce(self._house, self._job)
        self._sidecar_is_stale = False

    def _failed(self, fault: CesarError) -> Job:
        try:
            self._house.spool.check()
        except SpoolError as gone:
            # Nothing that goes wrong while the share is away is the recording's fault, whatever it looks like.
            fault = gone
        else:
            if is_taken_over(self._house, self._job):
                raise LeaseLost("Another instance took the job over; this attempt ends without a trace.")
        job = self._fresh()
        fault = retrying.as_own_fault(job, fault)
        if fault.kind is Kind.SYSTEMIC:
            # An ending that has begun is finished by recovery: its recording may have moved already.
            if job.state is State.PROCESSING and job.moving_to is None and job.duplicate_of is None:
                retrying.release(self._house, job, fault.reason)
            raise fault
        return retrying.fail_attempt(self._house, job, fault)
