"""What a dead instance left is taken over when asked; and what it finds when it was not dead after all."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.durable import rename_into_own
from cesar_watch.core.errors import CesarError, RecordingError
from cesar_watch.core.job import State
from cesar_watch.core.sign_of_life import SIGN, Life, look
from cesar_watch.service.instances import left_behind
from cesar_watch.service.neighbours import Neighbours
from cesar_watch.service.takeover import carry_out_adoptions
from tests.fakes import STALL, FakeEngine, window
from tests.service_builders import HandClock, Rig, open_rig

THREE = (window(0, "one"), window(1, "two"), window(2, "three"))


class _Died(BaseException):
    """Stands for the end of the process."""


def dying_engine() -> FakeEngine:
    """An engine whose process dies, with the service, behind the first window of talk.mp3."""
    return FakeEngine({"talk.mp3": [THREE[0], STALL]}, default=THREE)


@contextlib.contextmanager
def instance(tmp_path: Path, name: str, engine: FakeEngine | None = None, **sections: Any) -> Iterator[Rig]:
    """One of several instances on one spool, with its own state directory."""
    sections["spool"] = {"state_dir": tmp_path / name, "recursive": True} | sections.get("spool", {})
    with open_rig(tmp_path / "spool", engine or FakeEngine(default=THREE), **sections) as rig:
        yield rig


def die_in_mid_work(rig: Rig) -> None:
    """Leave what a death behind the first window leaves."""

    def die() -> None:
        if rig.engine.stalled.is_set():  # type: ignore[attr-defined]
            raise _Died

    rig.worker._beat = die
    with contextlib.suppress(_Died):
        rig.work()


def adopt(rig: Rig, other: str) -> int:
    house = rig.house
    house.ledger.adoptions.ask(other, look(house.spool.processing.parent / other).token)
    return carry_out_adoptions(house)


def outputs(tmp_path: Path) -> dict[str, bytes]:
    paths = (tmp_path / "spool/outbox").rglob("*")
    return {path.name: path.read_bytes() for path in paths if path.suffix in (".txt", ".json")}


def told(tmp_path: Path, base: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((tmp_path / f"spool/outbox/{base}.status.json").read_bytes())
    return fields


# --- taking over ----------------------------------------------------------------------------------


def test_adopted_work_goes_on_behind_the_last_window_and_ends_as_it_would_have(tmp_path: Path) -> None:
    with instance(tmp_path / "reference", "a") as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
    with instance(tmp_path, "a", dying_engine()) as rig:
        dead = rig.house.spool.instance
        rig.drop("talk.mp3")
        (before,) = rig.claim_all()
        die_in_mid_work(rig)

    with instance(tmp_path, "b") as rig:
        assert adopt(rig, dead) == 1
        (job,) = rig.house.ledger.jobs([State.PENDING])
        assert (job.job_id, job.base, job.interruptions) == (before.job_id, "talk", 1)
        assert told(tmp_path, "talk")["instance"] == rig.house.spool.instance
        rig.work()
        assert [request.first_index for request in rig.engine.requests] == [1]  # type: ignore[attr-defined]
        assert rig.only_job().state is State.COMPLETED
        assert rig.house.ledger.adoptions.asked() == {}
    transcripts = {name: content for name, content in outputs(tmp_path).items() if not name.endswith(".status.json")}
    reference = outputs(tmp_path / "reference")
    assert {name: reference[name] for name in transcripts} == transcripts
    assert os.listdir(tmp_path / "spool/processing" / dead) == []


def test_adopted_jobs_keep_their_subfolder_and_those_that_waited_wait(tmp_path: Path) -> None:
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
        rig.drop("radio/talk.mp3")
        rig.drop("talk.mp3")
        rig.claim_all()

    with instance(tmp_path, "b") as rig:
        assert adopt(rig, dead) == 2
        rig.work()
        files = rig.files()
    assert {"archive/radio/talk.mp3", "archive/talk.mp3", "outbox/radio/talk.txt", "outbox/talk.txt"} <= set(files)


def test_claim_that_died_behind_its_rename_is_adopted_without_a_sidecar(tmp_path: Path) -> None:
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
        rig.drop("talk.mp3")
        rig.claim_all()
    (tmp_path / "spool/outbox/talk.status.json").unlink()

    with instance(tmp_path, "b") as rig:
        assert adopt(rig, dead) == 1
        rig.work()
        assert rig.only_job().state is State.COMPLETED


def test_what_the_dead_instance_had_finished_stays_as_it_is(tmp_path: Path) -> None:
    broken = FakeEngine({"bad.mp3": [RecordingError("It is a text file.", reason="not_media")]})
    with instance(tmp_path, "a", broken) as rig:
        dead = rig.house.spool.instance
        for name in ("done.mp3", "bad.mp3"):
            rig.drop(name)
        rig.claim_all()
        rig.work()
        rig.drop("talk.mp3")
        rig.claim_all()
    finished = {base: told(tmp_path, base) for base in ("done", "bad")}

    with instance(tmp_path, "b") as rig:
        adopt(rig, dead)
        rig.work()
        assert [job.display_name for job in rig.house.ledger.jobs()] == ["talk.mp3"]
    assert {base: told(tmp_path, base) for base in ("done", "bad")} == finished


def test_settings_file_of_an_adopted_job_comes_with_it(tmp_path: Path) -> None:
    with instance(tmp_path, "a", dying_engine()) as rig:
        dead = rig.house.spool.instance
        rig.drop("talk.mp3.toml", b"beam_size = 3")
        rig.drop("talk.mp3")
        rig.claim_all()
        die_in_mid_work(rig)

    with instance(tmp_path, "b") as rig:
        assert adopt(rig, dead) == 1
        rig.work()
        assert rig.only_job().options["engine"]["beam_size"] == 3
        assert {"archive/talk.mp3", "archive/talk.mp3.toml"} <= set(rig.files())


def test_job_folder_with_nothing_but_a_settings_file_is_left_to_its_owner(tmp_path: Path) -> None:
    """Its recording is at rest, and the settings file would have followed."""
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
    left = tmp_path / "spool/processing" / dead / "0123456789abcdef"
    left.mkdir()
    (left / "talk.mp3.toml").write_text("")

    with instance(tmp_path, "b") as rig:
        assert adopt(rig, dead) == 0
    assert (left / "talk.mp3.toml").exists()


def test_job_folder_without_a_recording_is_left_to_its_owner(tmp_path: Path) -> None:
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
    left = tmp_path / "spool/processing" / dead / "0123456789abcdef"
    left.mkdir()
    (left / ".cesar-checkpoint.jsonl").write_text("{}")

    with instance(tmp_path, "b") as rig:
        assert adopt(rig, dead) == 0
    assert left.is_dir()


def test_adopted_job_whose_name_is_ours_already_gets_another_and_leaves_one_sidecar(tmp_path: Path) -> None:
    with instance(tmp_path, "b") as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        for path in (tmp_path / "spool/outbox").iterdir():
            path.unlink()
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
        rig.drop("talk.mp3", b"another talk")
        rig.claim_all()
    assert told(tmp_path, "talk")["instance"] == dead

    with instance(tmp_path, "b") as rig:
        adopt(rig, dead)
        (job,) = rig.house.ledger.jobs([State.PENDING])
        assert job.base == "talk.mp3"
    assert [path.name for path in (tmp_path / "spool/outbox").iterdir()] == ["talk.mp3.status.json"]


def test_adoption_that_was_broken_off_goes_on_with_the_next_start(tmp_path: Path) -> None:
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
        for name in ("one.mp3", "two.mp3"):
            rig.drop(name)
        first, _ = rig.claim_all()
    with instance(tmp_path, "b") as rig:
        theirs = tmp_path / "spool/processing" / dead
        rig.house.ledger.adoptions.ask(dead, look(theirs).token)
        rename_into_own(theirs / first.job_id, rig.house.spool.job_dir(first.job_id))

    with instance(tmp_path, "b") as rig:
        (job,) = rig.house.ledger.jobs([State.PENDING])
        assert (job.job_id, job.base) == (first.job_id, "one")
        assert carry_out_adoptions(rig.house) == 1
        rig.work()
        assert {job.state for job in rig.house.ledger.jobs()} == {State.COMPLETED}
    assert not list((tmp_path / "spool/processing").glob("*/*"))


# --- who lives --------------------------------------------------------------------------------------


def test_instance_that_gave_a_sign_since_it_was_watched_is_not_taken_over(tmp_path: Path) -> None:
    with instance(tmp_path, "a") as rig, instance(tmp_path, "b") as other:
        rig.drop("talk.mp3")
        rig.claim_all()
        neighbours = Neighbours(rig.house)
        other.house.ledger.adoptions.ask(rig.house.spool.instance, look(rig.house.spool.processing).token)
        neighbours.turn(rig.hand.elapsed_s)

        assert carry_out_adoptions(other.house) == 0
        assert other.house.ledger.adoptions.asked() == {}
        rig.work()
        assert rig.only_job().state is State.COMPLETED
        neighbours.close()


def test_instance_beats_while_it_has_work_and_leaves_the_disk_alone_otherwise(tmp_path: Path) -> None:
    with instance(tmp_path, "a") as rig:
        folder, neighbours = rig.house.spool.processing, Neighbours(rig.house)
        neighbours.turn(0.0)
        assert not (folder / SIGN).exists()

        rig.drop("talk.mp3")
        rig.claim_all()
        neighbours.turn(2.0)
        first = look(folder)
        assert first.life is Life.ALIVE
        rig.hand.move(2)
        neighbours.turn(4.0)
        assert look(folder).token == first.token
        neighbours.turn(22.0)
        assert look(folder).token != first.token

        rig.work()
        neighbours.turn(24.0)
        assert not (folder / SIGN).exists()


@pytest.mark.parametrize("is_done", [True, False])
def test_instance_that_ends_leaves_its_sign_only_where_it_leaves_work(tmp_path: Path, is_done: bool) -> None:
    with instance(tmp_path, "a") as rig:
        neighbours = Neighbours(rig.house)
        rig.drop("talk.mp3")
        rig.claim_all()
        neighbours.turn(0.0)
        if is_done:
            rig.work()
        neighbours.close()

        sign = look(rig.house.spool.processing)
        assert (sign.life is not Life.ALIVE, (rig.house.spool.processing / SIGN).exists()) == (True, not is_done)


def test_neighbours_take_over_what_was_asked_for_and_wake_the_worker(tmp_path: Path) -> None:
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
        rig.drop("talk.mp3")
        rig.claim_all()
    with instance(tmp_path, "b") as rig:
        woken = threading.Event()
        rig.house.ledger.adoptions.ask(dead, look(tmp_path / "spool/processing" / dead).token)
        Neighbours(rig.house, taken=woken.set).turn(0.0)
        assert woken.is_set()
        assert rig.only_job().state is State.PENDING


def test_what_seems_to_be_left_behind_is_told_with_its_remedy_and_what_is_alive_is_not(tmp_path: Path) -> None:
    hand = HandClock()
    with instance(tmp_path, "a") as rig:
        dead = rig.house.spool.instance
        rig.drop("talk.mp3")
        rig.claim_all()
        with instance(tmp_path, "b") as other:
            neighbours = Neighbours(rig.house)
            neighbours.turn(0.0)
            assert left_behind(other.house.spool, hand.clock().now()) == []
            neighbours.close()
            (left,) = left_behind(other.house.spool, hand.clock().now())
    assert left.recordings == 1
    assert f"cesar-watch adopt {dead}" in str(left)


# --- the one that was not dead ------------------------------------------------------------------------


def test_host_that_comes_back_forgets_what_was_taken_over_and_touches_nothing_of_it(tmp_path: Path) -> None:
    with instance(tmp_path, "a", dying_engine()) as rig:
        dead = rig.house.spool.instance
        for name in ("talk.mp3", "more.mp3"):
            rig.drop(name)
        rig.claim_all()
        die_in_mid_work(rig)
    with instance(tmp_path, "b") as rig:
        adopt(rig, dead)

    before = {base: told(tmp_path, base) for base in ("talk", "more")}
    with instance(tmp_path, "a") as rig:
        rig.work()
        assert [job for job in rig.house.ledger.jobs() if job.state is not State.COMPLETED] == []
    assert {base: told(tmp_path, base) for base in ("talk", "more")} == before
    with instance(tmp_path, "b") as rig:
        rig.work()
        assert {job.state for job in rig.house.ledger.jobs()} == {State.COMPLETED}


@pytest.mark.parametrize("finished", [False, True])
def test_attempt_whose_job_is_taken_over_ends_without_a_trace(tmp_path: Path, finished: bool) -> None:
    """A host that was cut off from the share, or suspended, for longer than anybody watched."""
    with instance(tmp_path, "b") as other, instance(tmp_path, "a", dying_engine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()

        def cut_off() -> None:
            if rig.engine.stalled.is_set():  # type: ignore[attr-defined]
                assert adopt(other, rig.house.spool.instance) == 1
                if finished:
                    other.work()
                rig.stop.since_s = rig.hand.elapsed_s - 3600

        rig.worker._beat = cut_off
        rig.worker.turn(rig.hand.elapsed_s)

        assert rig.house.ledger.jobs() == []
        other.work()
        assert other.only_job().state is State.COMPLETED
        assert told(tmp_path, "talk")["instance"] == other.house.spool.instance
        assert "failed/" not in "".join(rig.files())


@pytest.mark.parametrize("settings", [None, b"beam = 3"])
def test_job_that_was_taken_over_while_it_waited_is_forgotten_when_its_turn_comes(
    tmp_path: Path, settings: bytes | None
) -> None:
    with instance(tmp_path, "b") as other, instance(tmp_path, "a") as rig:
        if settings is not None:
            rig.drop("talk.mp3.toml", settings)
        rig.drop("talk.mp3")
        rig.claim_all()
        adopt(other, rig.house.spool.instance)
        before = told(tmp_path, "talk")

        with contextlib.suppress(CesarError):
            rig.work()
        assert rig.house.ledger.jobs() == []
        assert told(tmp_path, "talk") == before


# --- two at once ----------------------------------------------------------------------------------------


def test_two_instances_that_both_saw_a_recording_have_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with instance(tmp_path, "a") as one, instance(tmp_path, "b") as two:
        one.drop("talk.mp3")
        for rig in (one, two):
            rig.intake.turn(rig.hand.elapsed_s)
            rig.hand.move(60)
        for rig in (one, two):
            rig.intake.turn(rig.hand.elapsed_s)
        assert [len(rig.house.ledger.jobs()) for rig in (one, two)] == [1, 0]
        for rig in (one, two):
            rig.work()
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_recordings_of_one_stem_get_names_of_their_own_whoever_claims_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with instance(tmp_path, "a") as one, instance(tmp_path, "b") as two:
        one.drop("talk.mp3")
        one.claim_all()
        two.drop("talk.wav")
        two.claim_all()
        one.drop("talk.flac")
        one.claim_all()
        for rig in (two, one):
            rig.work()
        bases = sorted(job.base for rig in (one, two) for job in rig.house.ledger.jobs([State.COMPLETED]))
    assert bases == ["talk", "talk.flac", "talk.wav"]
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_sidecar_of_another_instance_that_takes_the_name_at_the_last_moment_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have chosen the name `talk`; the first one's sidecar appears behind the second one's look."""
    with instance(tmp_path, "a") as one, instance(tmp_path, "b") as two:

        def rename(source: Path, target: Path) -> None:
            rename_into_own(source, target)
            if source.parent == two.house.spool.inbox:
                one.drop("talk.mp3")
                one.claim_all()

        two.house.spool = dataclasses.replace(two.house.spool, rename=rename)
        two.drop("talk.wav")
        two.claim_all()
        for rig in (one, two):
            rig.work()
        jobs = [job for rig in (one, two) for job in rig.house.ledger.jobs()]
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert {job.display_name: job.base for job in jobs} == {"talk.mp3": "talk", "talk.wav": "talk.wav"}
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_recordings_of_one_name_that_fail_at_both_rest_with_a_reason_each(tmp_path: Path) -> None:
    broken = {"bad.mp3": [RecordingError("It is a text file.", reason="not_media")]}
    with instance(tmp_path, "a", FakeEngine(broken)) as one, instance(tmp_path, "b", FakeEngine(broken)) as two:
        one.drop("bad.mp3", b"one")
        one.claim_all()
        two.drop("bad.mp3", b"two")
        two.claim_all()

        def rename(source: Path, target: Path) -> None:
            if target.name == "bad.mp3.reason.txt" and not target.exists():
                two.work()
            rename_into_own(source, target)

        one.house.spool = dataclasses.replace(one.house.spool, rename=rename)
        one.work()
        files = {name for name in one.files() if name.startswith("failed/")}
    names = {"bad.mp3", "bad-2.mp3"}
    assert files == {f"failed/{name}{ending}" for name in names for ending in ("", ".reason.txt")}
