"""One recording, one outcome: what folders, ledger, sidecar and notices say after each end of an attempt."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import threading
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import AttemptError, CesarError, ModelError, RecordingError, SpoolError
from cesar_watch.core.job import Event as JobEvent
from cesar_watch.core.job import Job, Request, State
from cesar_watch.core.spool import Spool
from cesar_watch.service.attempt import STOP_GRACE_S
from cesar_watch.speech.measured import write_measured
from cesar_watch.speech.protocol import Event, Transcribe
from tests.builders import figure, lease_next
from tests.fakes import STALL, FakeEngine, window
from tests.service_builders import Rig, open_rig, sound_of


def _notices(rig: Rig) -> list[tuple[str, str]]:
    return [(queued.notice.event, queued.notice.job_id) for queued in rig.house.ledger.notices.recent()]


def _transcribe_one(rig: Rig, name: str = "talk.mp3") -> Job:
    rig.drop(name)
    rig.claim_all()
    rig.work()
    return rig.only_job()


def test_recording_that_works_is_published_archived_and_told_once(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = _transcribe_one(rig)
        assert job.state is State.COMPLETED
        assert rig.files() == ["archive/talk.mp3", "outbox/talk.json", "outbox/talk.status.json", "outbox/talk.txt"]
        assert (tmp_path / "outbox/talk.txt").read_text().split() == ["hello", "world"]
        assert _notices(rig) == [("completed", job.job_id)]
        assert [row["event"] for row in rig.house.ledger.history(job)] == [
            *("claimed", "leased", "transcribed", "published")
        ]


def test_sidecar_of_a_finished_job_names_outputs_and_resting_place(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = _transcribe_one(rig)
        sidecar = rig.sidecar()
    assert sidecar["status"] == "completed"
    assert sidecar["progress"] == 100
    assert sidecar["outputs"] == ["talk.txt", "talk.json"]
    assert list(sidecar["outputs_sha256"]) == sidecar["outputs"]
    assert sidecar["source"]["path"] == "archive/talk.mp3"
    assert sidecar["source"]["sha256"] == job.sha256
    assert sidecar["quality"]["verdict"] == "ok"
    assert sidecar["error"] is None


def test_sidecar_is_pending_from_the_claim_and_processing_from_the_lease(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [window(0, "hello"), STALL]})
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        assert rig.sidecar()["status"] == "pending"
        with _working(rig):
            assert rig.sidecar()["status"] == "processing"


def test_second_recording_has_an_estimate_before_its_first_window(tmp_path: Path) -> None:
    class Steady(FakeEngine):
        """Takes two seconds of the hand-moved clock for each recording."""

        def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
            rig.hand.move(2.0)
            return super().transcribe(request, **polling)

    engine = Steady({"next.mp3": [STALL]}, declared_s=20.0)
    with open_rig(tmp_path, engine) as rig:
        _transcribe_one(rig)
        rig.drop("next.mp3")
        rig.claim_all()
        with _working(rig):
            due = rig.house.ledger.jobs()[1].estimated_completion_at
            assert due == rig.house.clock.now() + timedelta(seconds=2)


def test_first_recording_has_an_estimate_where_the_machine_was_measured(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(default=[STALL], declared_s=20.0)) as rig:
        write_measured(tmp_path / ".state", [figure(model="demo", rtf=0.5), figure(model="other", rtf=0.1)])
        rig.drop("talk.mp3")
        rig.claim_all()
        with _working(rig):
            due = rig.only_job().estimated_completion_at
            assert due == rig.house.clock.now() + timedelta(seconds=10)


def test_recording_whose_header_knows_no_length_shows_progress_by_a_guess(tmp_path: Path) -> None:
    engine = FakeEngine(default=[window(0, "hello"), STALL], expected_s=20.0)
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        with _working(rig):
            job = rig.only_job()
            assert (job.progress, job.duration_s) == (50.0, None)


def test_recording_without_speech_completes_with_the_verdict_empty(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(default=[window(0, "")])) as rig:
        job = _transcribe_one(rig)
        assert job.state is State.COMPLETED
        assert rig.sidecar()["quality"]["verdict"] == "empty"
        assert "No speech" in job.message


def test_recording_that_can_never_work_fails_at_once_with_its_reason(tmp_path: Path) -> None:
    fault = RecordingError("It is a text file.", reason="not_media")
    with open_rig(tmp_path, FakeEngine(default=[fault])) as rig:
        job = _transcribe_one(rig)
        assert job.state is State.FAILED
        assert job.attempts == 1
        assert rig.files() == ["failed/talk.mp3", "failed/talk.mp3.reason.txt", "outbox/talk.status.json"]
        assert "reason: not_media" in (tmp_path / "failed/talk.mp3.reason.txt").read_text()
        assert rig.sidecar()["error"] == {"reason": "not_media", "message": "It is a text file."}
        assert _notices(rig) == [("failed", job.job_id)]


def test_passing_fault_is_tried_again_after_its_wait_and_no_earlier(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [AttemptError("The engine died.", reason="engine_crashed")]})
    with open_rig(tmp_path, engine) as rig:
        job = _transcribe_one(rig)
        assert (job.state, job.attempts) == (State.PENDING, 1)
        assert job.not_before_at is not None
        engine.scripts = {}
        rig.work()
        assert rig.only_job().state is State.PENDING
        rig.hand.move(60)
        rig.work()
        assert rig.only_job().state is State.COMPLETED
        assert rig.only_job().attempts <= 2


def test_second_attempt_at_work_shows_no_error_of_the_first(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [AttemptError("The engine died.", reason="engine_crashed")]})
    with open_rig(tmp_path, engine) as rig:
        _transcribe_one(rig)
        assert rig.sidecar()["error"]["reason"] == "engine_crashed"
        engine.scripts = {"talk.mp3": [STALL]}
        rig.hand.move(60)
        with _working(rig):
            assert (rig.sidecar()["status"], rig.sidecar()["error"]) == ("processing", None)


@pytest.mark.parametrize(("reason", "verdict"), [("engine_crashed", "poison"), ("source_unreadable",) * 2])
def test_passing_fault_on_every_attempt_ends_in_failed_with_its_verdict(
    tmp_path: Path, reason: str, verdict: str
) -> None:
    engine = FakeEngine({"talk.mp3": [AttemptError("It went wrong.", reason=reason)]})
    with open_rig(tmp_path, engine, retry={"max_attempts": 2}) as rig:
        first = _transcribe_one(rig)
        assert first.error is not None
        assert first.error.reason == reason
        rig.hand.move(3600)
        rig.work()
        job = rig.only_job()
        assert (job.state, job.attempts) == (State.FAILED, 2)
        assert job.error is not None
        assert job.error.reason == verdict
        assert "It went wrong." in job.error.message
        assert len(engine.requests) == 2


def test_lease_lost_in_the_moment_of_a_failure_leaves_the_other_owner_alone(tmp_path: Path) -> None:
    """What the engine tells after the last look at the lease must not be told of the other's attempt."""

    class Overtaken(FakeEngine):
        def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
            job, now = rig.only_job(), rig.house.clock.now()
            rig.house.ledger.apply(job, JobEvent.RELEASED, now, lease=None)
            lease_next(rig.house.ledger, "another", now)
            raise AttemptError("The engine died.", reason="engine_crashed")
            yield

    with open_rig(tmp_path, Overtaken()) as rig:
        job = _transcribe_one(rig)
        assert (job.state, job.lease, job.error) == (State.PROCESSING, "another", None)


def test_attempt_with_a_new_durable_window_pays_for_those_before_it(tmp_path: Path) -> None:
    crash = AttemptError("The engine died.", reason="engine_crashed")
    engine = FakeEngine({"talk.mp3": [window(0, "a"), crash]})
    with open_rig(tmp_path, engine, retry={"max_attempts": 2}) as rig:
        _transcribe_one(rig)
        assert rig.only_job().attempts == 1
        engine.scripts = {"talk.mp3": [window(0, "a"), window(1, "b"), crash]}
        rig.hand.move(3600)
        rig.work()
        assert (rig.only_job().state, rig.only_job().attempts) == (State.PENDING, 1)
        for _ in range(2):
            rig.hand.move(3600)
            rig.work()
        assert rig.only_job().state is State.FAILED


def test_next_attempt_begins_behind_the_last_durable_window(tmp_path: Path) -> None:
    crash = AttemptError("The engine died.", reason="engine_crashed")
    engine = FakeEngine({"talk.mp3": [window(0, "a"), window(1, "b"), crash]})
    with open_rig(tmp_path, engine) as rig:
        _transcribe_one(rig)
        engine.scripts = {"talk.mp3": [window(0, "a"), window(1, "b"), window(2, "c")]}
        rig.hand.move(3600)
        rig.work()
        assert [request.first_index for request in engine.requests] == [0, 2]
        assert (tmp_path / "outbox/talk.txt").read_text().split() == ["a", "b", "c"]


def test_systemic_fault_pauses_hands_the_attempt_back_and_goes_on_by_itself(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [ModelError("The model is gone.", reason="model_missing")]})
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        with pytest.raises(ModelError):
            rig.work()
        assert (rig.only_job().state, rig.only_job().attempts) == (State.PENDING, 0)
        engine.scripts = {}
        rig.work()
        assert rig.only_job().state is State.COMPLETED
        assert [event for event, _ in _notices(rig)] == ["completed"]


def test_marker_gone_stops_intake_and_worker_before_they_touch_anything(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        before = rig.files()
        (tmp_path / ".cesar-watch").rename(tmp_path / "marker")
        with pytest.raises(SpoolError):
            rig.intake.turn(rig.hand.elapsed_s)
        with pytest.raises(SpoolError):
            rig.worker.turn(rig.hand.elapsed_s)
        assert [name for name in rig.files() if name != "marker"] == before
        (tmp_path / "marker").rename(tmp_path / ".cesar-watch")
        rig.claim_all()
        rig.work()
        assert rig.only_job().state is State.COMPLETED


def test_unexpected_exception_is_recorded_on_the_job(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        def transcribe(self, *_args: Any, **_kwargs: Any) -> Any:
            raise ZeroDivisionError("surprise")

    with open_rig(tmp_path, Broken(), retry={"max_attempts": 1}) as rig:
        job = _transcribe_one(rig)
        assert job.state is State.FAILED
        assert job.error is not None
        assert job.error.reason == "internal"
        assert "ZeroDivisionError" in job.error.message


def test_recording_changed_under_the_attempt_is_transcribed_again(tmp_path: Path) -> None:
    class Writer(FakeEngine):
        def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
            if not self.requests:
                with Path(request.path).open("ab") as stream:
                    stream.write(b"more sound")
            return super().transcribe(request, **polling)

    engine = Writer()
    with open_rig(tmp_path, engine) as rig:
        job = _transcribe_one(rig)
        assert job.error is not None
        assert job.error.reason == "source_changed"
        rig.hand.move(3600)
        rig.work()
        done = rig.only_job()
        assert done.state is State.COMPLETED
        assert len(engine.requests) == 2
        assert done.identity.size_bytes == len(sound_of("talk.mp3") + b"more sound")


def test_recording_taken_out_of_processing_fails_with_what_to_do(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        job.source_path(tmp_path).unlink()
        rig.work()
        done = rig.only_job()
        assert done.state is State.FAILED
        assert done.error is not None
        assert done.error.reason == "source_missing"
        assert rig.files() == ["outbox/talk.status.json"]


def test_recording_put_back_into_processing_survives_its_retry(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        job.source_path(tmp_path).rename(tmp_path / "away.mp3")
        rig.work()
        assert rig.only_job().state is State.FAILED
        job.source_path(tmp_path).parent.mkdir(exist_ok=True)
        (tmp_path / "away.mp3").rename(job.source_path(tmp_path))
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        rig.work()
        assert rig.only_job().state is State.COMPLETED


def test_job_whose_folder_was_taken_away_fails_and_lets_the_others_go_on(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        shutil.rmtree(job.source_path(tmp_path).parent)
        rig.drop("other.mp3")
        rig.claim_all()
        rig.work()
        assert [job.state for job in rig.house.ledger.jobs()] == [State.FAILED, State.COMPLETED]
        assert rig.sidecar()["error"]["reason"] == "source_missing"


def test_same_name_twice_makes_two_transcripts_and_overwrites_nothing(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine) as rig:
        for text in ("first", "second", "third"):
            engine.scripts = {"talk.mp3": [window(0, text)]}
            rig.drop("talk.mp3", text.encode())
            rig.claim_all()
            rig.work()
        texts = {path.name: path.read_text().strip() for path in (tmp_path / "outbox").glob("*.txt")}
        assert texts == {"talk.txt": "first", "talk.mp3.txt": "second", "talk.mp3-2.txt": "third"}
        archived = sorted(path.read_text() for path in (tmp_path / "archive").iterdir())
        assert archived == ["first", "second", "third"]


def test_foreign_files_with_the_outputs_names_are_left_alone(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        stranger = tmp_path / "outbox/talk.txt"
        stranger.write_text("not yours")
        rig.work()
        assert stranger.read_text() == "not yours"
        assert (tmp_path / "outbox/talk.mp3.txt").read_text().split() == ["hello", "world"]
        assert rig.sidecar("talk.mp3")["status"] == "completed"
        assert not (tmp_path / "outbox/talk.status.json").exists()


def test_sidecar_that_had_to_change_its_name_at_the_claim_says_pending(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.intake.turn(rig.hand.elapsed_s)
        real = rig.house.spool.rename

        def rename(source: Path, target: Path) -> None:
            """Let a stranger take the sidecar's name just when the recording has been claimed."""
            real(source, target)
            if target.name == "talk.mp3":
                (tmp_path / "outbox/talk.status.json").write_text("not yours")

        spool = rig.house.spool
        rig.house.spool = Spool(spool.root, spool.instance, spool.spool_id, rename)
        rig.hand.move(60)
        rig.intake.turn(rig.hand.elapsed_s)
        assert rig.sidecar("talk.mp3")["status"] == "pending"
        assert rig.sidecar("talk.mp3")["source"]["path"].startswith("processing/")
        assert (tmp_path / "outbox/talk.status.json").read_text() == "not yours"
        assert rig.only_job().base == "talk.mp3"


def test_foreign_files_with_the_recordings_name_in_archive_and_failed_are_left_alone(tmp_path: Path) -> None:
    engine = FakeEngine({"bad.mp3": [RecordingError("No.", reason="not_media")]})
    with open_rig(tmp_path, engine) as rig:
        for room, name in (("archive", "talk.mp3"), ("failed", "bad.mp3.reason.txt")):
            (tmp_path / room / name).write_text("not yours")
        rig.drop("talk.mp3")
        rig.drop("bad.mp3")
        rig.claim_all()
        rig.work()
        assert (tmp_path / "archive/talk.mp3").read_text() == "not yours"
        assert (tmp_path / "failed/bad.mp3.reason.txt").read_text() == "not yours"
        assert (tmp_path / "archive/talk-2.mp3").read_bytes() == sound_of("talk.mp3")
        assert (tmp_path / "failed/bad-2.mp3.reason.txt").exists()


def test_subfolders_are_mirrored_when_recursive(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"recursive": True}) as rig:
        rig.drop("work/monday/talk.mp3")
        rig.claim_all()
        rig.work()
        assert "archive/work/monday/talk.mp3" in rig.files()
        assert "outbox/work/monday/talk.txt" in rig.files()


def test_file_in_the_way_of_a_mirrored_folder_parks_that_recording_only(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"recursive": True}) as rig:
        rig.drop("talk.txt/one.mp3")
        rig.drop("two.mp3")
        (tmp_path / "outbox/talk.txt").write_text("not yours")
        rig.claim_all()
        rig.work()
        assert rig.only_job().name == b"two.mp3"
        assert "inbox/talk.txt/one.mp3" in rig.files()
        assert rig.intake.parked == {"outbox_blocked": 1}
        (tmp_path / "outbox/talk.txt").unlink()
        rig.claim_all()
        rig.work()
        assert "outbox/talk.txt/one.txt" in rig.files()


@pytest.mark.parametrize("name", [b"caf\xe9.mp3", b"line\nbreak.mp3", b"-rf.mp3", "\N{PARTY POPPER}.mp3".encode()])
def test_any_name_is_transcribed_and_kept_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop(name.decode("utf-8", "surrogateescape"))
        rig.claim_all()
        rig.work()
        job = rig.only_job()
        assert job.state is State.COMPLETED
        assert job.name == name
        assert job.source == b"archive/" + name
        for output in job.outputs:
            assert output.isprintable()
            json.dumps(output).encode()


def test_name_of_255_bytes_is_transcribed(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = _transcribe_one(rig, "n" * 251 + ".mp3")
        assert job.state is State.COMPLETED


# --- people interfering ------------------------------------------------------------------------


@contextlib.contextmanager
def _working(rig: Rig) -> Iterator[None]:
    """Let the worker stand in mid-work, in a thread, for the length of the block; then cancel."""
    engine = rig.engine
    assert isinstance(engine, FakeEngine)
    failures: list[CesarError] = []

    def turn() -> None:
        try:
            rig.worker.turn(rig.hand.elapsed_s)
        except CesarError as fault:
            failures.append(fault)

    thread = threading.Thread(target=turn)
    thread.start()
    assert engine.stalled.wait(10)
    try:
        yield
    finally:
        if thread.is_alive() and rig.stop.since_s is None and not rig.house.settings.engine.timeout_s:
            rig.house.ledger.ask(rig.house.ledger.jobs()[-1], Request.CANCEL)
        thread.join(10)
        assert not thread.is_alive()
        assert not failures


def test_cancel_in_mid_work_ends_the_job_and_keeps_the_recording(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(default=[window(0, "a"), STALL])) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        with _working(rig):
            rig.house.ledger.ask(rig.only_job(), Request.CANCEL)
        assert rig.only_job().state is State.CANCELLED
        assert rig.files() == ["failed/talk.mp3", "failed/talk.mp3.reason.txt", "outbox/talk.status.json"]
        assert rig.sidecar()["status"] == "cancelled"
        assert _notices(rig) == []


def test_cancel_of_a_waiting_job_needs_no_engine(tmp_path: Path) -> None:
    engine = FakeEngine()
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        rig.house.ledger.ask(job, Request.CANCEL)
        rig.work()
        assert rig.only_job().state is State.CANCELLED
        assert engine.requests == []


def test_retry_of_a_failed_job_begins_anew_and_completes(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [RecordingError("No.", reason="not_media")]})
    with open_rig(tmp_path, engine) as rig:
        job = _transcribe_one(rig)
        engine.scripts = {}
        rig.house.ledger.ask(job, Request.RETRY)
        rig.work()
        done = rig.only_job()
        assert (done.state, done.attempts, done.error) == (State.COMPLETED, 1, None)
        assert rig.files() == ["archive/talk.mp3", "outbox/talk.json", "outbox/talk.status.json", "outbox/talk.txt"]
        assert [event for event, _ in _notices(rig)] == ["completed", "failed"]


@pytest.mark.parametrize("request_", [Request.DELETE, Request.DELETE_RECORDING])
def test_delete_removes_the_job_and_its_recording_only_when_asked(tmp_path: Path, request_: Request) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = _transcribe_one(rig)
        rig.house.ledger.ask(job, request_)
        rig.work()
        assert rig.house.ledger.jobs() == []
        assert rig.files() == (["archive/talk.mp3"] if request_ is Request.DELETE else [])


def test_stop_in_mid_work_hands_the_attempt_back_with_its_windows(tmp_path: Path) -> None:
    engine = FakeEngine(default=[window(0, "a"), STALL])
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        with _working(rig):
            rig.stop.since_s = rig.hand.elapsed_s
            rig.hand.move(STOP_GRACE_S + 1)
        job = rig.only_job()
        assert (job.state, job.attempts) == (State.PENDING, 0)
        assert rig.sidecar()["status"] == "pending"
    with open_rig(tmp_path, FakeEngine(default=[window(0, "a"), window(1, "b")])) as rig:
        rig.work()
        assert rig.only_job().state is State.COMPLETED
        assert isinstance(rig.engine, FakeEngine)
        assert [request.first_index for request in rig.engine.requests] == [1]


def test_attempt_over_the_time_limit_is_ended_and_counted(tmp_path: Path) -> None:
    engine = FakeEngine(default=[STALL])
    with open_rig(tmp_path, engine, engine={"timeout_s": 100}) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        with _working(rig):
            rig.hand.move(101)
        job = rig.only_job()
        assert (job.state, job.attempts) == (State.PENDING, 1)
        assert job.error is not None
        assert job.error.reason == "timeout"


def test_cancel_that_one_file_refuses_half_way_stays_asked_for_and_is_done_when_it_no_longer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "talk.mp3")

    with open_rig(tmp_path, FakeEngine(default=[window(0, "a")])) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        rig.house.ledger.ask(job, Request.CANCEL)
        with monkeypatch.context() as refusing:
            refusing.setattr(Spool, "move", refuse)
            for _ in range(2):
                rig.work()
                left = rig.only_job()
                assert (left.state, left.request) == (State.PENDING, Request.CANCEL)
                assert "see who owns the file" in left.message
        rig.work()
        assert rig.only_job().state is State.CANCELLED
        assert rig.files() == ["failed/talk.mp3", "failed/talk.mp3.reason.txt", "outbox/talk.status.json"]
