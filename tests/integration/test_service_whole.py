"""Whole, or waited for: slow writers, recordings cut short, and writers that a rename does not stop."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

import pytest

from cesar_watch.core.errors import AttemptError
from cesar_watch.core.job import Job, Request, State
from cesar_watch.service.intake import Intake
from cesar_watch.speech.protocol import Event, Transcribe
from tests.fakes import FakeEngine, window
from tests.service_builders import Rig, open_rig
from tests.sounds import voice, write_wav

SOUND = voice(10.0)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    return write_wav(tmp_path / "whole.wav", SOUND).read_bytes()


def pass_time(rig: Rig, seconds: float, *, step_s: float = 1.0) -> None:
    """Let the intake look at the inbox again and again for so long."""
    for _ in range(round(seconds / step_s)):
        rig.hand.move(step_s)
        rig.intake.turn(rig.hand.elapsed_s)


def states(rig: Rig) -> list[State]:
    return [job.state for job in rig.house.ledger.jobs()]


def failure_of(job: Job) -> str:
    assert job.error is not None
    return job.error.reason


# --- before the claim -------------------------------------------------------------------------------


def test_recording_that_is_proven_whole_is_claimed_after_one_confirmation(tmp_path: Path, whole: bytes) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        rig.drop("talk.wav", whole)
        assert rig.intake.turn(rig.hand.elapsed_s) == pytest.approx(0.2)
        pass_time(rig, 0.25, step_s=0.25)
        assert states(rig) == [State.PENDING]


def test_recording_that_proves_nothing_is_claimed_after_the_quiet_window(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3", b"sound")
        pass_time(rig, 5)
        assert states(rig) == []
        assert rig.intake.settling == 1
        pass_time(rig, 1)
        assert states(rig) == [State.PENDING]


class SlowWriter:
    """Copies a recording bit by bit; the pauses are the test's."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._stream: IO[bytes] = path.open("wb", buffering=0)
        self._left = content

    def write(self, count: int) -> None:
        self._stream.write(self._left[:count])
        self._left = self._left[count:]

    def close(self) -> None:
        assert not self._left
        self._stream.close()


@pytest.mark.parametrize("name", ["talk.wav", "talk.aac"])
def test_slow_writer_that_pauses_longer_than_the_quiet_window_makes_one_job_of_the_full_length(
    tmp_path: Path, whole: bytes, name: str
) -> None:
    content = whole if name == "talk.wav" else b"\xff\xf1" + os.urandom(60_000)
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        writer = SlowWriter(rig.house.spool.inbox / name, content)
        for _ in range(10):
            writer.write(len(content) // 10 + 1)
            pass_time(rig, 60)
            assert states(rig) == []
        assert rig.intake.parked == {"being_written": 1}
        writer.close()
        pass_time(rig, 64)
        rig.work()
        (job,) = rig.house.ledger.jobs()
        assert job.state is State.COMPLETED
        assert job.identity.size_bytes == len(content)


def test_slow_writer_that_opens_the_file_anew_for_each_part_makes_one_job_where_the_header_tells(
    tmp_path: Path, whole: bytes
) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        path = rig.house.spool.inbox / "talk.wav"
        for begin in range(0, len(whole), 50_000):
            with path.open("ab") as stream:
                stream.write(whole[begin : begin + 50_000])
            pass_time(rig, 100, step_s=5)
        pass_time(rig, 1)
        assert [job.identity.size_bytes for job in rig.house.ledger.jobs()] == [len(whole)]


def test_recording_that_waits_for_its_writer_is_told_of_once_and_is_never_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with open_rig(tmp_path, FakeEngine()) as rig:
        with rig.drop("talk.mp3").open("ab"):
            pass_time(rig, 30 * 86_400, step_s=3600)
            assert rig.intake.parked == {"being_written": 1}
            assert states(rig) == []
        pass_time(rig, 64)
        assert states(rig) == [State.PENDING]
        assert rig.intake.parked == {}
    assert [record.message for record in caplog.records if "open for writing" in record.message] == [
        "talk.mp3 waits until the program that has it open for writing closes it."
    ]


def test_recordings_that_wait_are_counted_by_reason(tmp_path: Path, whole: bytes) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        rig.drop("empty.wav", b"")
        rig.drop("one.wav", whole[:9999])
        rig.drop("two.wav", whole[:5555])
        with rig.drop("open.mp3").open("ab"):
            pass_time(rig, 10)
            rig.drop("new.mp3")
            pass_time(rig, 1)
            assert rig.intake.parked == {"being_written": 1, "empty": 1, "short": 2}
            assert rig.intake.settling == 1


# --- cut short --------------------------------------------------------------------------------------


def test_recording_that_stays_short_is_taken_after_its_grace_and_fails_as_truncated(
    tmp_path: Path, whole: bytes
) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path / "spool", engine) as rig:
        rig.drop("talk.wav", whole[: len(whole) // 2])
        pass_time(rig, 300)
        assert states(rig) == []
        pass_time(rig, 2)
        rig.work()
        job = rig.only_job()
        assert (job.state, failure_of(job)) == (State.FAILED, "truncated")
        assert engine.requests == []
        reason = (tmp_path / "spool/failed/talk.wav.reason.txt").read_text()
        assert f"promises {len(whole)} bytes, and {len(whole) // 2} are there" in reason
        assert 'spool.short = "transcribe"' in reason


def test_recording_that_grew_while_it_was_short_is_waited_for_anew(tmp_path: Path, whole: bytes) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        path = rig.drop("talk.wav", whole[:1000])
        pass_time(rig, 250, step_s=5)
        with path.open("ab") as stream:
            stream.write(whole[1000:5000])
        pass_time(rig, 250, step_s=5)
        assert rig.intake.parked == {"short": 1}
        with path.open("ab") as stream:
            stream.write(whole[5000:])
        pass_time(rig, 2)
        rig.work()
        assert states(rig) == [State.COMPLETED]


def test_recording_that_stays_short_is_transcribed_and_marked_partial_where_that_is_wanted(
    tmp_path: Path, whole: bytes
) -> None:
    engine = FakeEngine(declared_s=60.0)
    with open_rig(tmp_path / "spool", engine, spool={"short": "transcribe", "short_grace_s": 10}) as rig:
        rig.drop("talk.wav", whole[:-100])
        pass_time(rig, 12)
        rig.work()
        sidecar = rig.sidecar()
        assert sidecar["status"] == "completed"
        assert sidecar["quality"]["verdict"] == "partial"
        assert sidecar["quality"]["spans"][-1] == {"start_s": 20.0, "end_s": 60.0, "reason": "missing"}
        assert "cut short" in sidecar["message"]


def test_recording_that_only_its_decoded_length_betrays_follows_the_same_setting(tmp_path: Path) -> None:
    engine = FakeEngine(declared_s=60.0)
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        assert failure_of(rig.only_job()) == "truncated"
        settings = rig.house.settings
        rig.house.settings = settings.model_copy(
            update={"spool": settings.spool.model_copy(update={"short": "transcribe"})}
        )
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        rig.work()
        assert rig.only_job().state is State.COMPLETED
        assert rig.sidecar()["quality"]["verdict"] == "partial"


def test_recording_that_failed_as_truncated_is_transcribed_by_a_retry_when_the_setting_changed(
    tmp_path: Path, whole: bytes
) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        rig.drop("talk.wav", whole[:-100])
        pass_time(rig, 302)
        rig.work()
        assert failure_of(rig.only_job()) == "truncated"
        settings = rig.house.settings
        rig.house.settings = settings.model_copy(
            update={"spool": settings.spool.model_copy(update={"short": "transcribe"})}
        )
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        rig.work()
        assert rig.sidecar()["quality"] == {"verdict": "partial", "spans": []}


# --- behind the claim -------------------------------------------------------------------------------


def test_recording_that_is_opened_for_writing_after_its_claim_waits_without_using_up_attempts(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine, retry={"max_attempts": 1}) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        with job.source_path(tmp_path).open("ab"):
            for _ in range(50):
                rig.work()
                waiting = rig.only_job()
                assert (waiting.state, waiting.attempts, failure_of(waiting)) == (State.PENDING, 0, "being_written")
                assert rig.sidecar()["error"]["reason"] == "being_written"
                assert waiting.not_before_at is not None
                wait_s = (waiting.not_before_at - rig.house.clock.now()).total_seconds()
                assert 30 <= wait_s <= 3600
                rig.hand.move(wait_s)
        assert wait_s == 3600
        assert engine.requests == []
        rig.work()
        assert rig.only_job().state is State.COMPLETED


class Meddler(FakeEngine):
    """Lets something happen to the recording while it is transcribed."""

    def __init__(self, meddle: Callable[[Path], Any], **options: Any) -> None:
        super().__init__(**options)
        self._meddle = meddle

    def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
        self._meddle(Path(request.path))
        return super().transcribe(request, **polling)


def test_recording_that_changes_in_every_attempt_is_never_given_up(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        with path.open("ab") as stream:
            stream.write(b"more")

    with open_rig(tmp_path, Meddler(write), retry={"max_attempts": 2}) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        for _ in range(10):
            rig.work()
            assert (rig.only_job().state, failure_of(rig.only_job())) == (State.PENDING, "source_changed")
            rig.hand.move(3600)


def test_recording_that_is_still_open_for_writing_after_decoding_is_not_published_before_it_is_closed(
    tmp_path: Path,
) -> None:
    held: list[IO[bytes]] = []
    engine = Meddler(lambda path: held.append(path.open("ab")))
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        assert (rig.only_job().state, failure_of(rig.only_job())) == (State.PENDING, "being_written")
        assert not list((tmp_path / "outbox").glob("*.txt"))
        held.pop().close()
        rig.hand.move(60)
        rig.work()
        assert rig.only_job().state is State.COMPLETED
        assert len(engine.requests) == 1  # what was transcribed is kept


def test_recording_that_grew_after_its_claim_and_is_not_whole_gets_its_grace(tmp_path: Path, whole: bytes) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        rig.drop("talk.mp3", b"nothing that proves anything")
        (job,) = rig.claim_all()
        source = job.source_path(rig.house.spool.root)
        source.write_bytes(whole[:5000])
        rig.work()
        waiting = rig.only_job()
        assert (waiting.state, failure_of(waiting)) == (State.PENDING, "short")
        rig.hand.move(299)
        rig.work()
        assert rig.only_job().state is State.PENDING
        source.write_bytes(whole)
        rig.hand.move(10)
        rig.work()
        assert rig.only_job().state is State.COMPLETED
        assert rig.only_job().identity.size_bytes == len(whole)


def test_recording_that_grew_after_its_claim_and_stays_short_fails_as_truncated(tmp_path: Path, whole: bytes) -> None:
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        rig.drop("talk.mp3", b"nothing that proves anything")
        (job,) = rig.claim_all()
        job.source_path(rig.house.spool.root).write_bytes(whole[:5000])
        rig.work()
        rig.hand.move(310)
        rig.work()
        assert (rig.only_job().state, failure_of(rig.only_job())) == (State.FAILED, "truncated")


def test_engine_that_crashes_on_a_recording_that_waited_still_counts_its_own_attempts(tmp_path: Path) -> None:
    crash = AttemptError("The engine died.", reason="engine_crashed")
    with open_rig(tmp_path, FakeEngine({"talk.mp3": [window(0, "a"), crash]}), retry={"max_attempts": 1}) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        with job.source_path(tmp_path).open("ab"):
            rig.work()
        rig.hand.move(60)
        rig.work()
        assert failure_of(rig.only_job()) == "poison"


# --- names that temporary files have too ------------------------------------------------------------


@pytest.mark.parametrize("moved_in", [True, False])
def test_whole_recording_with_a_name_of_temporary_files_waits_its_long_window(
    tmp_path: Path, whole: bytes, moved_in: bool
) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"watch_mode": "events", "quiet_suspect_s": 60}) as rig:
        rig.intake.turn(rig.hand.elapsed_s)
        if moved_in:
            (tmp_path / "talk.part").write_bytes(whole)
            (tmp_path / "talk.part").rename(rig.house.spool.inbox / "talk.f140.wav")
        else:
            rig.drop("talk.f140.wav", whole)
        pass_time(rig, 59)
        assert states(rig) == []
        assert rig.intake.settling == 1
        pass_time(rig, 2)
        assert states(rig) == [State.PENDING]


# --- what events tell -------------------------------------------------------------------------------


@pytest.mark.parametrize("moved_in", [True, False])
def test_recording_that_was_renamed_into_place_does_not_wait_for_the_quiet_window(
    tmp_path: Path, moved_in: bool
) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"watch_mode": "events", "quiet_s": 3600}) as rig:
        wake = threading.Event()
        intake = Intake(rig.house, wake=wake)
        intake.turn(rig.hand.elapsed_s)
        path = tmp_path / "talk.mp3" if moved_in else rig.house.spool.inbox / "talk.mp3"
        path.write_bytes(b"sound")
        if moved_in:
            path.rename(rig.house.spool.inbox / "talk.mp3")
        assert wake.wait(10)
        for _ in range(2):
            intake.turn(rig.hand.elapsed_s)
            rig.hand.move(0.25)
        intake.close()
        assert states(rig) == ([State.PENDING] if moved_in else [])


def test_recording_whose_writer_closes_it_at_last_is_taken_at_once(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"watch_mode": "events"}) as rig:
        wake = threading.Event()
        intake = Intake(rig.house, wake=wake)
        with rig.drop("talk.mp3").open("ab"):
            for _ in range(30):
                rig.hand.move(60)
                intake.turn(rig.hand.elapsed_s)
            wake.clear()
        assert wake.wait(10)
        intake.turn(rig.hand.elapsed_s)
        intake.close()
        assert states(rig) == [State.PENDING]
