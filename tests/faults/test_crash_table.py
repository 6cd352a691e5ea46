"""The crash table of docs/architecture.md, line by line: die after a step, start again, look.

Each test makes the leftovers that a death after the step leaves, by doing the steps up to it, and then
opens the house anew, as a start after a crash does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.durable import rename_noreplace
from cesar_watch.core.errors import AttemptError, RecordingError
from cesar_watch.core.job import Event, Failure, Job, Request, State
from cesar_watch.core.spool import Spool
from cesar_watch.delivery.kept import read_kept
from cesar_watch.delivery.publish import publish
from cesar_watch.service import ended, endings
from cesar_watch.speech.checkpoint import Checkpoint, fingerprint
from cesar_watch.speech.protocol import Event as EngineEvent
from cesar_watch.speech.protocol import Transcribe
from tests.builders import lease_next
from tests.fakes import FakeEngine, window
from tests.service_builders import Rig, open_rig, sound_of
from tests.transcripts import in_memory

WORDS = ["hello", "world"]


class Died(BaseException):
    """The process ends here; nothing of it may tidy up."""


def _finish(root: Path, engine: FakeEngine | None = None) -> Rig:
    """Start again, let everything run out, and return the rig (closed) for a look at its engine."""
    with open_rig(root, engine or FakeEngine()) as rig:
        rig.claim_all()
        rig.work()
        (job,) = rig.house.ledger.jobs()
        assert job.state is State.COMPLETED
        assert rig.files() == ["archive/talk.mp3", "outbox/talk.json", "outbox/talk.status.json", "outbox/talk.txt"]
        assert (root / "outbox/talk.txt").read_text().split() == WORDS
        notices = [queued.notice.event for queued in rig.house.ledger.notices.recent()]
        assert notices.count("completed") <= 1
        return rig


def _leased(rig: Rig) -> Job:
    rig.drop("talk.mp3")
    rig.claim_all()
    job = lease_next(rig.house.ledger, "dead", rig.house.clock.now())
    assert job is not None
    return job


def _decoded(rig: Rig, root: Path) -> tuple[Job, Checkpoint]:
    """Return a leased job whose whole transcript is in its checkpoint, and nowhere else."""
    sha256 = hashlib.sha256(sound_of("talk.mp3")).hexdigest()
    job = rig.house.ledger.update(_leased(rig), rig.house.clock.now(), sha256=sha256)
    checkpoint = Checkpoint.open(job.source_path(root).parent, fingerprint(job.options["engine"], job.sha256 or ""))
    for index, word in enumerate(WORDS):
        checkpoint.append(window(index, word))
    checkpoint.finish(duration_s=20.0, declared_s=None, skipped_packets=0)
    return job, checkpoint


def _transcribed(rig: Rig, root: Path) -> tuple[Job, Checkpoint]:
    job, checkpoint = _decoded(rig, root)
    return rig.house.ledger.apply(job, Event.TRANSCRIBED, rig.house.clock.now(), duration_s=20.0), checkpoint


def test_death_after_the_intent_row_lets_the_scan_find_the_file_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        _break(rig, "before")
        with pytest.raises(Died):
            rig.claim_all()
        assert [job.state for job in rig.house.ledger.jobs([State.CLAIMING])] == [State.CLAIMING]
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.house.ledger.jobs([State.CLAIMING]) == []
        assert rig.files() == ["inbox/talk.mp3"]
    _finish(tmp_path)


def test_death_after_the_rename_makes_the_job_pending(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        _break(rig, "after")
        with pytest.raises(Died):
            rig.claim_all()
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.only_job().state is State.PENDING
        assert rig.sidecar()["status"] == "pending"
    _finish(tmp_path)


@pytest.mark.parametrize("room", ["processing", "archive"])
def test_death_between_a_recording_and_its_settings_file_lets_that_follow(tmp_path: Path, room: str) -> None:
    def die(source: Path, target: Path) -> None:
        if source.suffix == ".toml" and room in target.parts:
            raise Died
        rename_noreplace(source, target)

    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3.toml", b"beam_size = 3")
        rig.drop("talk.mp3")
        rig.house.spool = Spool(rig.house.spool.root, rig.house.spool.instance, rig.house.spool.spool_id, rename=die)
        with pytest.raises(Died):
            rig.claim_all()
            rig.work()
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.work()
        assert (rig.only_job().state, rig.only_job().options["engine"]["beam_size"]) == (State.COMPLETED, 3)
        assert [name for name in rig.files() if not name.startswith("outbox")] == [
            "archive/talk.mp3",
            "archive/talk.mp3.toml",
        ]


def test_death_before_a_wrong_settings_file_failed_its_recording_changes_nothing(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3.toml", b"beam = 3")
        rig.drop("talk.mp3")
        rig.claim_all()
    with open_rig(tmp_path, engine := FakeEngine()) as rig:
        rig.work()
        assert rig.only_job().state is State.FAILED
        assert engine.requests == []


def test_ledger_deleted_while_a_job_waits_is_rebuilt_from_its_folder(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        (before,) = rig.claim_all()
    _delete_ledger(tmp_path)
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.only_job().job_id == before.job_id
        assert rig.only_job().base == before.base
    _finish(tmp_path)


def test_ledger_deleted_after_finished_work_recognises_it_and_does_not_redo_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        before = rig.only_job()
    _delete_ledger(tmp_path)
    engine = FakeEngine()
    _finish(tmp_path, engine)
    with open_rig(tmp_path, engine) as rig:
        after = rig.only_job()
    assert engine.requests == []
    fields = ("job_id", "state", "name", "base", "source", "sha256", "outputs", "outputs_sha256", "completed_at")
    for field in (*fields, "duration_s"):
        assert getattr(after, field) == getattr(before, field), field


def test_death_after_the_lease_hands_the_attempt_back_and_works_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _leased(rig)
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = rig.only_job()
        assert (job.state, job.attempts, job.interruptions) == (State.PENDING, 0, 1)
    _finish(tmp_path)


def test_death_after_the_lease_with_the_engine_in_the_service_keeps_the_attempt_counted(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), engine={"isolation": "thread"}) as rig:
        _leased(rig)
    with open_rig(tmp_path, FakeEngine(), engine={"isolation": "thread"}) as rig:
        job = rig.only_job()
        assert (job.state, job.attempts, job.interruptions) == (State.PENDING, 1, 0)
    _finish(tmp_path)


def _die_at_work(root: Path, times: int, **sections: Any) -> None:
    """Let the service die `times` times in a row with the oldest recording that may be worked on leased."""
    for _ in range(times):
        with open_rig(root, FakeEngine(), **sections) as rig:
            rig.hand.move(7200)  # longer than any wait
            assert lease_next(rig.house.ledger, "dead", rig.house.clock.now()) is not None


def _assert_poison_and_the_others_go_on(rig: Rig) -> None:
    job = rig.only_job()
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error.reason == "poison"
    assert rig.files() == ["failed/talk.mp3", "failed/talk.mp3.reason.txt", "outbox/talk.status.json"]
    rig.drop("other.mp3")
    rig.claim_all()
    rig.work()
    assert rig.house.ledger.jobs()[1].state is State.COMPLETED


def test_death_in_every_attempt_with_the_engine_in_the_service_is_poison(tmp_path: Path) -> None:
    thread = {"isolation": "thread"}
    with open_rig(tmp_path, FakeEngine(), engine=thread) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
    _die_at_work(tmp_path, 3, engine=thread)
    with open_rig(tmp_path, FakeEngine(), engine=thread) as rig:
        _assert_poison_and_the_others_go_on(rig)


def test_deaths_of_the_service_in_a_row_make_a_recording_wait_and_the_others_go_first(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.drop("zebra.mp3")
        rig.claim_all()
    _die_at_work(tmp_path, 3)
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.house.ledger.jobs()[0].not_before_at is None
    _die_at_work(tmp_path, 1)
    engine = FakeEngine()
    with open_rig(tmp_path, engine) as rig:
        now, waiting = rig.house.clock.now(), rig.house.ledger.jobs()[0]
        assert (waiting.attempts, waiting.interruptions) == (0, 4)
        assert waiting.not_before_at is not None
        assert timedelta(seconds=30) <= waiting.not_before_at - now < timedelta(seconds=60)
        rig.work()
        assert [job.state for job in rig.house.ledger.jobs()] == [State.PENDING, State.COMPLETED]
        rig.hand.move(60)
        rig.work()
        assert [job.state for job in rig.house.ledger.jobs()] == [State.COMPLETED, State.COMPLETED]


def test_window_that_becomes_durable_pays_for_the_interruptions_before_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
    _die_at_work(tmp_path, 2)
    with open_rig(tmp_path, FakeEngine()) as rig, _died_in(rig, FakeEngine(declared_s=20.0), after=1):
        rig.work()
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert (rig.only_job().attempts, rig.only_job().interruptions) == (0, 1)
    _finish(tmp_path)


def test_deaths_of_the_service_over_one_recording_do_not_go_on_for_ever(tmp_path: Path) -> None:
    retry = {"max_attempts": 2}
    with open_rig(tmp_path, FakeEngine(), retry=retry) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
    _die_at_work(tmp_path, 19, retry=retry)
    with open_rig(tmp_path, FakeEngine(), retry=retry) as rig:
        assert (rig.only_job().state, rig.only_job().interruptions) == (State.PENDING, 19)
    _die_at_work(tmp_path, 1, retry=retry)
    with open_rig(tmp_path, FakeEngine(), retry=retry) as rig:
        _assert_poison_and_the_others_go_on(rig)


def test_retry_of_poison_begins_without_its_interruptions(tmp_path: Path) -> None:
    retry = {"max_attempts": 1}
    with open_rig(tmp_path, FakeEngine(), retry=retry) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
    _die_at_work(tmp_path, 10, retry=retry)
    with open_rig(tmp_path, FakeEngine(), retry=retry) as rig:
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        ended.requeue(rig.house, rig.only_job())
        assert (rig.only_job().attempts, rig.only_job().interruptions) == (0, 0)


def test_death_after_some_windows_begins_behind_the_last_durable_one(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        with _died_in(rig, FakeEngine(default=[window(0, WORDS[0]), window(1, WORDS[1])], declared_s=20.0), after=1):
            rig.work()
    engine = FakeEngine()
    _finish(tmp_path, engine)
    assert [request.first_index for request in engine.requests] == [1]


def test_death_after_a_torn_checkpoint_line_begins_behind_the_last_whole_one(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        with _died_in(rig, FakeEngine(), after=1):
            rig.work()
        (path,) = rig.house.spool.processing.glob("*/.cesar-checkpoint.jsonl")
        with path.open("ab") as stream:
            stream.write(b'{"window": {"index": 1, "start')
    engine = FakeEngine()
    _finish(tmp_path, engine)
    assert [request.first_index for request in engine.requests] == [1]


def test_death_after_the_transcript_is_durable_does_not_decode_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribed(rig, tmp_path)
    engine = FakeEngine()
    _finish(tmp_path, engine)
    assert engine.requests == []


def test_death_between_the_whole_checkpoint_and_its_commit_does_not_decode_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _decoded(rig, tmp_path)
    engine = FakeEngine()
    _finish(tmp_path, engine)
    assert engine.requests == []


def test_death_after_some_outputs_publishes_again_and_equal_content_counts_as_done(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job, checkpoint = _transcribed(rig, tmp_path)
        assert checkpoint.transcript is not None
        publish(rig.house.spool, job, checkpoint.transcript)
        (tmp_path / "outbox/talk.json").unlink()
    engine = FakeEngine()
    _finish(tmp_path, engine)
    assert engine.requests == []


def test_death_after_the_outputs_and_before_the_transcript_is_kept_keeps_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job, checkpoint = _transcribed(rig, tmp_path)
        transcript = in_memory(checkpoint.transcript)
        publish(rig.house.spool, job, transcript)
    engine = FakeEngine()
    _finish(tmp_path, engine)
    assert engine.requests == []
    kept = read_kept(tmp_path / ".state", job.job_id)
    assert kept is not None
    assert kept.transcript == transcript


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_around_the_archive_rename_completes_with_one_notice(tmp_path: Path, moment: str) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job, checkpoint = _transcribed(rig, tmp_path)
        assert checkpoint.transcript is not None
        _break(rig, moment, to="archive")
        with pytest.raises(Died):
            endings.complete(rig.house, job, checkpoint.transcript)
        assert rig.sidecar()["status"] == "completed"
    engine = FakeEngine()
    _finish(tmp_path, engine)
    assert engine.requests == []
    with open_rig(tmp_path, engine) as rig:
        assert len(rig.house.ledger.notices.recent()) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_around_the_rename_into_failed_ends_in_failed_with_its_reason(tmp_path: Path, moment: str) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = _leased(rig)
        _break(rig, moment, to="failed")
        with pytest.raises(Died):
            endings.give_up(rig.house, job, Failure("not_media", "It is a text file."))
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = rig.only_job()
        assert job.state is State.FAILED
        assert job.error == Failure("not_media", "It is a text file.")
        assert rig.files() == ["failed/talk.mp3", "failed/talk.mp3.reason.txt", "outbox/talk.status.json"]
        assert [queued.notice.event for queued in rig.house.ledger.notices.recent()] == ["failed"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_around_the_rename_of_a_cancel_in_mid_work_ends_in_cancelled(tmp_path: Path, moment: str) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        job = _leased(rig)
        rig.house.ledger.ask(job, Request.CANCEL)
        _break(rig, moment, to="failed")
        with pytest.raises(Died):
            endings.cancel(rig.house, job)
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.work()
        assert rig.only_job().state is State.CANCELLED
        assert rig.sidecar()["status"] == "cancelled"
        assert rig.files() == ["failed/talk.mp3", "failed/talk.mp3.reason.txt", "outbox/talk.status.json"]
        assert rig.house.ledger.notices.recent() == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_around_the_rename_of_a_retry_is_finished_by_the_next_start(tmp_path: Path, moment: str) -> None:
    with open_rig(tmp_path, FakeEngine(default=[RecordingError("No.", reason="not_media")])) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        _break(rig, moment, to="processing")
        with pytest.raises(Died):
            rig.work()
    _finish(tmp_path)


def test_death_before_the_notice_is_sent_leaves_it_pending(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
    with open_rig(tmp_path, FakeEngine()) as rig:
        due = rig.house.ledger.notices.due(rig.house.clock.now())
        assert due is not None
        assert due.notice.event == "completed"


def test_folder_of_a_finished_job_that_was_not_removed_is_swept(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        left = rig.house.spool.job_dir(rig.only_job().job_id)
        left.mkdir()
        (left / ".cesar-checkpoint.jsonl").write_text(json.dumps({}))
    _finish(tmp_path)
    assert not left.exists()


# --- ways to die -----------------------------------------------------------------------------


def _break(rig: Rig, moment: str, *, to: str = "processing") -> None:
    """Let the process die before or after the next rename into the room `to`."""
    real = rig.house.spool.rename

    def rename(source: Path, target: Path) -> None:
        hit = to in target.parts
        if hit and moment == "before":
            raise Died
        real(source, target)
        if hit:
            raise Died

    spool = rig.house.spool
    rig.house.spool = Spool(spool.root, spool.instance, spool.spool_id, rename)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_around_the_rename_into_duplicates_ends_as_a_duplicate_told_once(tmp_path: Path, moment: str) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _break(rig, moment, to="duplicates")
        with pytest.raises(Died):
            _transcribe(rig, "copy.mp3")
    with open_rig(tmp_path, FakeEngine()) as rig:
        first, second = rig.house.ledger.jobs()
        assert (second.state, second.duplicate_of) == (State.DUPLICATE, first.job_id)
        assert rig.sidecar("copy")["outputs"] == first.outputs
        assert {"archive/talk.mp3", "duplicates/copy.mp3"} < set(rig.files())
        assert [queued.notice.event for queued in rig.house.ledger.notices.recent()] == ["duplicate", "completed"]


def test_death_after_a_copy_was_recognised_ends_as_a_duplicate(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        first = rig.only_job()
        rig.drop("copy.mp3", b"the same sound")
        rig.claim_all()
        job = lease_next(rig.house.ledger, "dead", rig.house.clock.now())
        assert job is not None
        recognised = {"duplicate_of": first.job_id, "outputs": first.outputs, "sha256": first.sha256}
        rig.house.ledger.update(job, rig.house.clock.now(), **recognised)
    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.house.ledger.get(job.job_id).state is State.DUPLICATE
        assert "duplicates/copy.mp3" in rig.files()


def test_death_while_a_copy_waits_for_the_first_lets_it_wait_on(tmp_path: Path) -> None:
    engine = FakeEngine({"a.mp3": [AttemptError("A passing trouble.", reason="attempt_failed")]})
    with open_rig(tmp_path, engine, retry={"backoff_s": 600}) as rig:
        for name in ("a.mp3", "b.mp3"):
            _transcribe(rig, name)
        hand = rig.hand
    engine = FakeEngine()
    with open_rig(tmp_path, engine, hand=hand, retry={"backoff_s": 600}) as rig:
        rig.work()
        first, second = rig.house.ledger.jobs()
        assert (second.state, second.duplicate_of, engine.requests) == (State.PENDING, first.job_id, [])
        rig.hand.move(3600)
        rig.work()
        assert [job.state for job in rig.house.ledger.jobs()] == [State.COMPLETED, State.DUPLICATE]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_around_the_rename_of_a_duplicates_retry_is_finished_by_the_next_start(
    tmp_path: Path, moment: str
) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        _transcribe(rig, "talk.mp3")
        _transcribe(rig, "copy.mp3")
        rig.house.ledger.ask(rig.house.ledger.jobs()[1], Request.RETRY)
        _break(rig, moment, to="processing")
        with pytest.raises(Died):
            rig.work()
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.work()
        assert [job.state for job in rig.house.ledger.jobs()] == [State.COMPLETED] * 2
        assert {"archive/talk.mp3", "archive/copy.mp3"} < set(rig.files())


@contextlib.contextmanager
def _died_in(rig: Rig, engine: FakeEngine, *, after: int) -> Iterator[None]:
    """Let the process die when the engine has given `after` windows and they are durable."""

    class Deadly(FakeEngine):
        def transcribe(self, request: Transcribe, **polling: Any) -> Generator[EngineEvent, None, None]:
            given = 0
            for event in engine.transcribe(request, **polling):
                yield event
                given += event.type == "window"
                if given == after:
                    raise Died

    rig.engine = Deadly()
    with pytest.raises(Died):
        yield


def _transcribe(rig: Rig, name: str) -> None:
    rig.drop(name, b"the same sound")
    rig.claim_all()
    rig.work()


def _delete_ledger(root: Path) -> None:
    for path in (root / ".state").glob("ledger.db*"):
        path.unlink()


# --- an inbox of somebody else's ----------------------------------------------------------------

COPIED: dict[str, Any] = {"spool": {"claim": "copy"}}


def _finish_copied(root: Path) -> FakeEngine:
    """As `_finish`, with a source that stays."""
    engine = FakeEngine()
    with open_rig(root, engine, **COPIED) as rig:
        rig.claim_all()
        rig.work()
        rig.claim_all()
        assert rig.only_job().state is State.COMPLETED
        assert rig.files() == ["inbox/talk.mp3", "outbox/talk.json", "outbox/talk.status.json", "outbox/talk.txt"]
        notices = [queued.notice.event for queued in rig.house.ledger.notices.recent()]
        assert notices.count("completed") == 1
    return engine


def _die_at_the_copys_rename(rig: Rig, moment: str) -> None:
    def rename(source: Path, target: Path) -> None:
        if moment == "after":
            rename_noreplace(source, target)
        raise Died

    rig.house.spool = dataclasses.replace(rig.house.spool, rename=rename)
    with pytest.raises(Died):
        rig.claim_all()


def test_death_after_some_of_a_copy_lets_the_scan_find_the_source_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **COPIED) as rig:
        rig.drop("talk.mp3")
        _die_at_the_copys_rename(rig, "before")
        (claiming,) = rig.house.ledger.jobs([State.CLAIMING])
        (rig.house.spool.job_dir(claiming.job_id) / ".cesar-half").write_bytes(b"the so")
    with open_rig(tmp_path, FakeEngine(), **COPIED) as rig:
        assert rig.house.ledger.jobs([State.CLAIMING]) == []
        assert rig.files() == ["inbox/talk.mp3"]
    _finish_copied(tmp_path)


def test_death_after_the_copys_rename_makes_the_job_pending_and_the_source_known(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **COPIED) as rig:
        rig.drop("talk.mp3")
        _die_at_the_copys_rename(rig, "after")
    with open_rig(tmp_path, FakeEngine(), **COPIED) as rig:
        assert rig.only_job().state is State.PENDING
        assert rig.sidecar()["status"] == "pending"
    assert len(_finish_copied(tmp_path).requests) == 1


def test_death_after_the_copy_was_removed_completes_with_one_notice(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **COPIED) as rig:
        job, checkpoint = _transcribed(rig, tmp_path)
        assert checkpoint.transcript is not None
        publish(rig.house.spool, job, checkpoint.transcript)
        rig.house.ledger.update(job, rig.house.clock.now(), moving_to=b"inbox/talk.mp3")
        job.source_path(tmp_path).unlink()
    assert _finish_copied(tmp_path).requests == []
