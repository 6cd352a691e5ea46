"""Whose is it? With `spool.claim = "copy"` the inbox stays exactly as it is, and nothing in it is transcribed twice."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import AttemptError, RecordingError, SpoolError
from cesar_watch.core.job import Job, Request, State
from cesar_watch.intake.copying import claim_copy
from cesar_watch.intake.overrides import resolve
from cesar_watch.intake.scan import Candidate, scan
from cesar_watch.service.intake import Intake
from cesar_watch.service.recovery import recover
from cesar_watch.service.sources import AHEAD
from cesar_watch.verify.examine import Examination
from tests.fakes import FakeEngine
from tests.mounting import mount, plug_in, tmpfs, unmount
from tests.service_builders import Rig, open_rig

NO_MEDIA = RecordingError("It is a text file.", reason="not_media")
RigMaker = Callable[..., AbstractContextManager[Rig]]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


@pytest.fixture
def copying(tmp_path: Path, library: Path) -> RigMaker:
    """Open a rig on a library that is not ours; `engine` may be given."""

    def opened(engine: FakeEngine | None = None, **spool: Any) -> AbstractContextManager[Rig]:
        keys = {"claim": "copy", "inbox": library, "recursive": True} | spool
        return open_rig(tmp_path / "spool", engine or FakeEngine(), spool=keys)

    return opened


def _look(rig: Rig) -> None:
    rig.claim_all()
    rig.work()


def _put(library: Path, name: str = "talk.mp3", content: bytes | None = None) -> Path:
    path = library / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"the sound of {name}".encode() if content is None else content)
    return path


def _state_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return everything about every name in a folder that only a change of it changes."""
    return {
        str(path.relative_to(folder)): (
            (stat := path.lstat()).st_ino,
            stat.st_mode,
            stat.st_nlink,
            stat.st_size,
            stat.st_mtime_ns,
            stat.st_ctime_ns,
        )
        for path in (folder, *folder.rglob("*"))
    }


def _jobs(rig: Rig) -> list[tuple[str, State]]:
    return [(os.fsdecode(os.path.join(job.subfolder, job.name)), job.state) for job in rig.house.ledger.jobs()]


def _findings(rig: Rig) -> list[str]:
    settings = rig.house.settings
    report = Examination(settings.spool.root, settings.state_dir, is_running=lambda: False).run()
    return [finding.code for finding in report.findings]


# --- what becomes of source and copy ------------------------------------------------------------


def test_source_stays_as_it_is_and_its_copy_goes_when_the_transcript_is_there(copying: RigMaker, library: Path) -> None:
    _put(library, "radio/talk.mp3")
    before = _state_of(library)
    with copying() as rig:
        (job,) = rig.claim_all()
        assert job.source_path(rig.house.spool.root).read_bytes() == b"the sound of radio/talk.mp3"
        rig.work()
        assert _jobs(rig) == [("radio/talk.mp3", State.COMPLETED)]
        names = [f"outbox/radio/talk.{ending}" for ending in ("json", "status.json", "txt")]
        assert rig.files() == names
        assert rig.sidecar("radio/talk")["source"]["path"] == "inbox/radio/talk.mp3"
        assert _findings(rig) == []
    assert _state_of(library) == before


def test_inbox_in_the_spool_may_be_somebody_elses_too(copying: RigMaker, tmp_path: Path) -> None:
    with copying(inbox=None) as rig:
        rig.drop("talk.mp3")
        before = _state_of(tmp_path / "spool/inbox")
        _look(rig)
        assert _jobs(rig) == [("talk.mp3", State.COMPLETED)]
        rig.house.prove()
        assert _findings(rig) == []
        assert _state_of(tmp_path / "spool/inbox") == before


def test_inbox_may_be_a_read_only_mount(copying: RigMaker, library: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    _put(shelf)
    mount("-t", "tmpfs", "tmpfs", library)
    try:
        shutil.copy(shelf / "talk.mp3", library)
        mount("-o", "remount,ro", library)
        with copying() as rig:
            _look(rig)
            assert _jobs(rig) == [("talk.mp3", State.COMPLETED)]
    finally:
        unmount(library)


def test_failed_recording_stays_in_its_inbox_and_the_sidecar_tells_why(copying: RigMaker, library: Path) -> None:
    path = _put(library)
    with copying(FakeEngine({"talk.mp3": [NO_MEDIA]})) as rig:
        _look(rig)
        assert _jobs(rig) == [("talk.mp3", State.FAILED)]
        assert rig.files() == ["outbox/talk.status.json"]
        assert rig.sidecar()["error"]["reason"] == "not_media"
        assert _findings(rig) == []
    assert path.exists()


def test_second_source_with_the_same_content_is_a_duplicate_and_stays(copying: RigMaker, library: Path) -> None:
    _put(library, "a.mp3", b"one sound")
    _put(library, "b.mp3", b"one sound")
    engine = FakeEngine()
    with copying(engine) as rig:
        _look(rig)
        assert _jobs(rig) == [("a.mp3", State.COMPLETED), ("b.mp3", State.DUPLICATE)]
        assert not [name for name in rig.files() if name.startswith("duplicates/")]
        assert _findings(rig) == []
    assert len(engine.requests) == 1
    assert sorted(os.listdir(library)) == ["a.mp3", "b.mp3"]


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_copy_whose_source_is_not_there_any_more_as_it_was_is_kept(copying: RigMaker, library: Path, what: str) -> None:
    path = _put(library)
    with copying() as rig:
        rig.claim_all()
        path.unlink()
        if what == "changed":
            _put(library, content=b"another sound")
        rig.work()
        assert (rig.house.spool.root / "archive/talk.mp3").read_bytes() == b"the sound of talk.mp3"
        assert rig.sidecar()["source"]["path"] == "archive/talk.mp3"
        assert _findings(rig) == []


def test_source_that_goes_in_the_moment_of_the_end_is_kept(copying: RigMaker, library: Path) -> None:
    path = _put(library)
    with copying() as rig:
        (job,) = rig.claim_all()
        now = rig.house.clock.now()
        rig.house.ledger.update(job, now, moving_to=b"inbox/talk.mp3")
        path.unlink()
        rig.work()
        assert (rig.house.spool.root / "archive/talk.mp3").exists()


def test_deleting_a_job_with_its_recording_leaves_the_source_and_does_not_bring_the_job_back(
    copying: RigMaker, library: Path
) -> None:
    path = _put(library)
    with copying() as rig:
        _look(rig)
        rig.house.ledger.ask(rig.only_job(), Request.DELETE_RECORDING)
        _look(rig)
        assert _jobs(rig) == []
        assert rig.files() == []
    assert path.exists()


def test_retry_takes_another_copy(copying: RigMaker, library: Path) -> None:
    _put(library)
    engine = FakeEngine({"talk.mp3": [NO_MEDIA]})
    with copying(engine) as rig:
        _look(rig)
        engine.scripts = {}
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        _look(rig)
        assert _jobs(rig) == [("talk.mp3", State.COMPLETED)]
        assert _findings(rig) == []


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_retry_is_refused_when_the_source_is_not_what_it_was(copying: RigMaker, library: Path, what: str) -> None:
    path = _put(library)
    with copying(FakeEngine({"talk.mp3": [NO_MEDIA]})) as rig:
        _look(rig)
        path.unlink() if what == "gone" else path.write_bytes(b"another sound")
        rig.house.ledger.ask(rig.only_job(), Request.RETRY)
        rig.work()
        assert _jobs(rig) == [("talk.mp3", State.FAILED)]
        assert rig.only_job().request is None
        assert _findings(rig) == []


def test_settings_file_is_obeyed_and_stays_with_the_source(copying: RigMaker, library: Path, tmp_path: Path) -> None:
    _put(library, "a/talk.mp3.toml", b'language = "de"')
    _put(library, "a/.cesar.toml", b"beam_size = 3")
    _put(library, "a/talk.mp3")
    before = _state_of(library)
    with copying() as rig:
        _look(rig)
        engine = rig.only_job().options["engine"]
        assert (engine["language"], engine["beam_size"]) == ("de", 3)
        assert rig.only_job().state is State.COMPLETED
        assert not list((tmp_path / "spool").rglob("*.toml"))
    assert _state_of(library) == before


def test_settings_file_that_is_wrong_fails_and_is_mended_where_it_is(copying: RigMaker, library: Path) -> None:
    _put(library, "talk.mp3")
    _put(library, "talk.mp3.toml", b"beam = 3")
    with copying() as rig:
        _look(rig)
        job = rig.only_job()
        assert job.state is State.FAILED
        assert job.error is not None
        assert job.error.reason == "bad_override"
        (library / "talk.mp3.toml").write_text("beam_size = 3")
        rig.house.ledger.ask(job, Request.RETRY)
        rig.work()
        job = rig.only_job()
        assert (job.state, job.options["engine"]["beam_size"], job.is_copied) == (State.COMPLETED, 3, True)
        assert (library / "talk.mp3.toml").read_text() == "beam_size = 3"
        rig.house.ledger.ask(job, Request.DELETE_RECORDING)
        rig.work()
        assert sorted(path.name for path in library.iterdir()) == ["talk.mp3", "talk.mp3.toml"]


# --- nothing twice ------------------------------------------------------------------------------


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _chmod(path: Path) -> None:
    path.chmod(0o600)


def _sync_again(path: Path) -> None:
    again = path.with_name(".again")
    shutil.copy(path, again)
    again.replace(path)


def _rename(path: Path) -> None:
    (path.parent / "later").mkdir()
    path.rename(path.parent / "later" / "named.mp3")


def _move_by_copying(path: Path) -> None:
    shutil.copyfile(path, path.with_name("elsewhere.mp3"))
    path.unlink()


def _nothing(path: Path) -> None:
    pass


SAME = [_nothing, _touch, _chmod, _sync_again, _rename, _move_by_copying]


@pytest.mark.parametrize("do", SAME)
@pytest.mark.parametrize("restart", [False, True])
def test_source_with_known_content_is_not_transcribed_again(
    copying: RigMaker, library: Path, do: Callable[[Path], None], restart: bool
) -> None:
    path = _put(library)
    with copying() as rig:
        _look(rig)
        if not restart:
            do(path)
            _look(rig)
            assert len(_jobs(rig)) == 1
    if restart:
        do(path)
    engine = FakeEngine()
    with copying(engine) as rig:
        _look(rig)
        assert len(_jobs(rig)) == 1
        assert rig.intake.settling == 0
        assert engine.requests == []


def test_source_that_was_recognised_is_not_read_once_more(copying: RigMaker, library: Path) -> None:
    path = _put(library)
    with copying() as rig:
        _look(rig)
        _touch(path)
        _look(rig)
        reads: list[None] = []
        fresh = Intake(rig.house, wake=threading.Event(), poll=lambda: reads.append(None))
        for _ in range(3):
            rig.hand.move(60)
            fresh.turn(rig.hand.elapsed_s)
        assert reads == []


def test_source_that_was_changed_in_place_is_a_new_job(copying: RigMaker, library: Path) -> None:
    path = _put(library)
    with copying() as rig:
        _look(rig)
        stat = path.stat()
        path.write_bytes(b"the sound of TALK.mp3")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # its time does not tell
        _look(rig)
        assert _jobs(rig) == [("talk.mp3", State.COMPLETED)] * 2
        assert {"outbox/talk.txt", "outbox/talk.mp3.txt"} < set(rig.files())
        assert _findings(rig) == []


def _ledger_lost(root: Path) -> None:
    for path in (root / ".state").glob("ledger.db*"):
        path.unlink()


@pytest.mark.parametrize("do", SAME)
def test_ledger_made_from_sidecars_knows_what_was_taken(
    copying: RigMaker, library: Path, tmp_path: Path, do: Callable[[Path], None]
) -> None:
    path = _put(library, "radio/talk.mp3")
    with copying() as rig:
        _look(rig)
        before = rig.only_job()
    _ledger_lost(tmp_path / "spool")
    do(path)
    engine = FakeEngine()
    with copying(engine) as rig:
        _look(rig)
        after = rig.only_job()
        assert (after.state, after.source, after.sha256) == (before.state, before.source, before.sha256)
        assert engine.requests == []


def test_copy_that_waits_when_the_ledger_is_lost_goes_on_and_its_source_is_known(
    copying: RigMaker, library: Path, tmp_path: Path
) -> None:
    _put(library)
    with copying() as rig:
        rig.claim_all()
    _ledger_lost(tmp_path / "spool")
    with copying() as rig:
        _look(rig)
        assert _jobs(rig) == [("talk.mp3", State.COMPLETED)]


def test_ledger_of_the_version_before_is_converted(copying: RigMaker, library: Path, tmp_path: Path) -> None:
    with copying():
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "spool/.state/ledger.db")) as ledger:
        ledger.execute("DROP TABLE taken")
        ledger.execute("PRAGMA user_version = 3")
    _put(library)
    with copying() as rig:
        _look(rig)
        assert _jobs(rig) == [("talk.mp3", State.COMPLETED)]
    assert not list((tmp_path / "spool/.state").glob("*damaged*"))


# --- the copying --------------------------------------------------------------------------------


@pytest.fixture
def interrupted(copying: RigMaker, library: Path) -> Iterator[tuple[Rig, list[Callable[[], None]]]]:
    """Yield a rig whose intake does, once, what is in the list, in the middle of copying `talk.mp3`."""
    path = _put(library, content=b"x" * 3_000_000)
    steps: list[Callable[[], None]] = []

    def poll() -> None:
        if steps:
            steps.pop()()

    with copying() as rig:
        rig.intake.close()
        rig.intake = Intake(rig.house, wake=threading.Event(), poll=poll)
        assert path.exists()
        yield rig, steps


def test_source_that_changes_while_it_is_copied_is_copied_anew(
    interrupted: tuple[Rig, list[Callable[[], None]]], library: Path
) -> None:
    rig, steps = interrupted

    def write() -> None:
        (library / "talk.mp3").write_bytes(b"y" * 3_000_000)

    steps.append(write)
    assert rig.claim_all() == []
    assert rig.files() == []
    (job,) = rig.claim_all()
    assert job.source_path(rig.house.spool.root).read_bytes() == b"y" * 3_000_000


def test_stop_in_the_middle_of_a_copy_leaves_nothing(interrupted: tuple[Rig, list[Callable[[], None]]]) -> None:
    rig, steps = interrupted

    def stop() -> None:
        raise AttemptError("The service is stopping.", reason="stopping")

    steps.append(stop)
    assert rig.claim_all() == []
    assert rig.files() == []
    assert sum(rig.house.ledger.counts().values()) == 0
    assert os.listdir(rig.house.spool.processing) == []


class _Killed(BaseException):
    """Stands for the end of the process."""


def test_restart_after_a_kill_in_the_middle_of_a_copy_takes_it_anew(
    interrupted: tuple[Rig, list[Callable[[], None]]],
) -> None:
    rig, steps = interrupted

    def die() -> None:
        raise _Killed

    steps.append(die)
    with pytest.raises(_Killed):
        rig.claim_all()
    recover(rig.house)
    assert rig.files() == []
    assert [job.state for job in rig.claim_all()] == [State.PENDING]


def test_disk_without_space_for_the_only_copy_pauses_and_leaves_nothing(
    copying: RigMaker, library: Path, tmp_path: Path
) -> None:
    _put(library, "film.mp3", b"x" * 8_000_000)
    with tmpfs(tmp_path / "spool", size_kib=4096), copying() as rig:
        with pytest.raises(SpoolError) as caught:
            rig.claim_all()
        assert caught.value.reason == "disk_full"
        assert rig.files() == []
        assert sum(rig.house.ledger.counts().values()) == 0


def test_library_is_copied_only_a_few_recordings_ahead_of_the_worker(copying: RigMaker, library: Path) -> None:
    for number in range(AHEAD + 3):
        _put(library, f"{number:02}.mp3")
    with copying() as rig:
        assert len(rig.claim_all()) == AHEAD
        assert rig.intake.settling == 3
        rig.work()
        _look(rig)
        assert [state for _, state in _jobs(rig)] == [State.COMPLETED] * (AHEAD + 3)


def test_claim_that_was_broken_off_behind_its_copy_is_finished(copying: RigMaker, library: Path) -> None:
    _put(library)
    with copying() as rig:
        (found,) = scan(library, rig.house.settings.spool)
        assert isinstance(found, Candidate)
        _put(library, "talk.mp3.toml", b'language = "de"')
        before = _state_of(library)

        def die(_: Job) -> Job:
            raise _Killed

        with pytest.raises(_Killed):
            claim_copy(
                found,
                rig.house.spool,
                rig.house.ledger,
                options=resolve(rig.house.settings, library, b"", found.name, found.path).options,
                bases=[("talk", "talk")],
                announce=die,
                now=rig.house.clock.now(),
                poll=lambda: None,
            )
        assert rig.house.ledger.counts()[State.CLAIMING] == 1
        recover(rig.house)
        _look(rig)
        _look(rig)
        assert _jobs(rig) == [("talk.mp3", State.COMPLETED)]
        assert rig.only_job().options["engine"]["language"] == "de"
        assert _findings(rig) == []
        assert _state_of(library) == before


# --- an inbox that is away ----------------------------------------------------------------------


def test_inbox_that_is_not_mounted_pauses_and_what_was_taken_stays_known(
    copying: RigMaker, library: Path, tmp_path: Path
) -> None:
    _put(tmp_path / "disk")
    plug_in(tmp_path / "disk", library)
    with copying() as rig:
        try:
            _look(rig)
        finally:
            unmount(library)
        with pytest.raises(SpoolError) as caught:
            rig.intake.turn(rig.hand.elapsed_s)
        assert caught.value.reason == "inbox_gone"
        assert os.listdir(library) == []
        plug_in(tmp_path / "disk", library)
        try:
            _look(rig)
        finally:
            unmount(library)
        assert _jobs(rig) == [("talk.mp3", State.COMPLETED)]


def test_inbox_that_was_removed_pauses(copying: RigMaker, library: Path) -> None:
    with copying() as rig:
        library.rmdir()
        with pytest.raises(OSError) as caught:
            rig.intake.turn(rig.hand.elapsed_s)
        assert caught.value.errno == errno.ENOENT
        assert not library.exists()
