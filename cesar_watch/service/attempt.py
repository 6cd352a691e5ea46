"""One attempt at one job, from lease to outcome.

The attempt was counted when the lease was taken, before anything is decoded. Whatever happens here
ends in exactly one of: completed, duplicate, failed, cancelled, pending again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cesar_watch.core.errors import (
    AttemptError,
    CesarError,
    Kind,
    LeaseLost,
    RecordingError,
    SpoolError,
    Unfinished,
    folder_fault,
)
from cesar_watch.core.humanize import duration, size
from cesar_watch.core.job import Event, FileIdentity, Job, Request, State
from cesar_watch.core.mounts import is_remote
from cesar_watch.core.transcript import Transcript
from cesar_watch.intake.probe import Short
from cesar_watch.intake.whole import examine
from cesar_watch.service import endings, retrying
from cesar_watch.service.announce import announce
from cesar_watch.service.duplicates import find_twin
from cesar_watch.service.house import House
from cesar_watch.service.pace import Pace
from cesar_watch.service.taken_over import is_taken_over
from cesar_watch.speech.checkpoint import Checkpoint, fingerprint
from cesar_watch.speech.protocol import Engine
from cesar_watch.speech.quality import judge
from cesar_watch.speech.transcribe import Progress, transcribe

log = logging.getLogger(__name__)

STOP_GRACE_S = 15.0
"""How long a graceful stop waits for the running window; the service must be gone after 30 s."""
HEARTBEAT_S = 5.0


class CancelAsked(Exception):
    """A person cancelled the job while it was being worked on."""


class StopAsked(Exception):
    """The service is stopping; the attempt is handed back."""


@dataclass
class Stop:
    """Since when the service is stopping, in monotonic seconds; None while it is not."""

    since_s: float | None = None


class Attempt:
    """Work on one leased job. Owned by the worker thread; used once.

    Args:
        beat: Called whenever the attempt shows that it is alive.
        going_on: Called after each window that has become durable.
    """

    def __init__(
        self,
        house: House,
        engine: Engine,
        job: Job,
        *,
        stop: Stop,
        beat: Callable[[], None],
        going_on: Callable[[], None],
    ) -> None:
        self._house = house
        self._engine = engine
        self._job = job
        self._stop = stop
        self._beat = beat
        self._going_on = going_on
        self._timeout_s = job.options["engine"].get("timeout_s", house.settings.engine.timeout_s)
        started_s = house.clock.monotonic_s()
        usual_rtf = house.ledger.usual_rtf(job.options["engine"].get("model", ""))
        sidecar_every_s = job.options["output"].get("sidecar_every_s", house.settings.output.sidecar_every_s)
        self._pace = Pace(started_s, sidecar_every_s, usual_rtf)
        self._started_s = started_s
        self._heartbeat_s = started_s
        self._sidecar_is_stale = False
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
        except StopAsked:
            return retrying.release(self._house, self._fresh(), "stopped")
        except LeaseLost:
            raise
        except CesarError as fault:
            return self._failed(fault)
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
        seen = _seen(source)
        cut_short = self._is_cut_short(source, seen)
        self._job = self._identified(source, seen)
        self._write_sidecar()
        twin = find_twin(self._house, self._job)
        if twin is None:
            return endings.complete(self._house, *self._transcribed(source, cut_short))
        _see_unchanged(source, self._job.identity)
        if twin.state is State.COMPLETED:
            return endings.recognise(self._house, self._fresh(), twin)
        return retrying.wait_for(self._house, self._fresh(), twin)

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
        self._windows_before = len(checkpoint.windows)
        transcript = transcribe(
            self._engine,
            source,
            checkpoint,
            self._job.options["engine"],
            accept_short=self._house.settings.spool.short == "transcribe",
            on_progress=self._progress,
            poll=self._poll,
        )
        _see_unchanged(source, self._job.identity)
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

    def _is_cut_short(self, source: Path, seen: FileIdentity) -> bool:
        """Return whether the recording's own header says that a part is missing, and the settings take it even so.

        Raises:
            Unfinished: Its writer, whom a rename does not stop, is still at it.
            RecordingError: It is cut short, and stays so.
        """
        verdict = examine(source, seen, is_remote=is_remote(source))
        if not isinstance(verdict, Short):
            return False
        if seen != self._job.identity:
            # It has been waited for in the inbox, but not since it changed.
            self._job = self._house.ledger.update(self._job, self._house.clock.now(), sha256=None, identity=seen)
            raise Unfinished(
                "The recording grew after its claim and is not whole yet: it is waited for.", reason="short"
            )
        if self._house.settings.spool.short == "fail":
            raise RecordingError(
                f"{self._job.display_name} is cut short: {_missing(verdict)}. Drop the whole recording; or set "
                'spool.short = "transcribe" and retry this one.',
                reason="truncated",
            )
        return True

    def _identified(self, source: Path, seen: FileIdentity) -> Job:
        """Return the job with the hash of its recording; a recording that changed is hashed anew."""
        if self._job.sha256 and seen == self._job.identity:
            return self._job
        digest = self._hash(source)
        return self._house.ledger.update(self._job, self._house.clock.now(), sha256=digest, identity=seen)

    def _hash(self, source: Path) -> str:
        digest = hashlib.sha256()
        try:
            # No link is followed, and a pipe doesn't make us wait.
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
                    self._poll()
        except OSError as fault:
            raise AttemptError(
                f"The recording can't be read ({fault.strerror}): see that its disk is well.",
                reason="source_unreadable",
            ) from None
        return digest.hexdigest()

    def _poll(self) -> None:
        """Show life, and look whether to go on; called at least every half second."""
        self._beat()
        now_s = self._house.clock.monotonic_s()
        if self._stop.since_s is not None and now_s - self._stop.since_s > STOP_GRACE_S:
            raise StopAsked
        if self._timeout_s and now_s - self._started_s > self._timeout_s:
            raise AttemptError(
                f"The attempt took longer than {duration(self._timeout_s)} (engine.timeout_s): raise the limit, or "
                "use a smaller model.",
                reason="timeout",
            )
        if self._fresh().request is Request.CANCEL:
            raise CancelAsked
        if now_s - self._heartbeat_s >= HEARTBEAT_S:
            self._heartbeat_s = now_s
            self._job = self._house.ledger.update(self._job, self._house.clock.now())
        if self._sidecar_is_stale and self._pace.sidecar_due(now_s):
            self._write_sidecar()

    def _progress(self, progress: Progress) -> None:
        """Store how far the work is. A durable window pays for the attempts and interruptions before it.

        So only attempts in a row without a single new window use a recording's attempts up.
        """
        paid = {"attempts": 1, "interruptions": 0} if progress.windows > self._windows_before else {}
        now_s, now = self._house.clock.monotonic_s(), self._house.clock.now()
        self._pace.seen(progress.done_s, now_s)
        remaining_s = self._pace.remaining_s(progress.done_s, progress.declared_s)
        self._job = self._house.ledger.update(
            self._job,
            now,
            progress=self._pace.percent(progress.done_s, progress.declared_s),
            estimated_completion_at=None if remaining_s is None else now + timedelta(seconds=remaining_s),
            duration_s=progress.declared_s,
            **paid,
        )
        if paid:
            self._going_on()
        self._sidecar_is_stale = True
        if self._stop.since_s is not None:
            raise StopAsked
        self._poll()

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


def _seen(source: Path) -> FileIdentity:
    try:
        return FileIdentity.of(os.lstat(source))
    except FileNotFoundError:
        raise RecordingError(
            f"The recording is gone from {source}: drop it into the inbox again.", reason="source_missing"
        ) from None


def _see_unchanged(source: Path, identity: FileIdentity) -> None:
    """Refuse what was found out of a file that its writer was still changing, or may go on to change."""
    if FileIdentity.of(os.lstat(source)) != identity:
        raise Unfinished(
            "The recording changed while it was worked on: it is worked on again.", reason="source_changed"
        )
    examine(source, identity, is_remote=is_remote(source))


def _missing(verdict: Short) -> str:
    if verdict.declared_bytes is None:
        return f"of its {size(verdict.actual_bytes)} the end is missing"
    return f"its header promises {verdict.declared_bytes} bytes, and {verdict.actual_bytes} are there"
