"""The claim: exactly one owner, nothing lost, nothing half, on a real ledger."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.durable import Rename, link_noreplace, rename_noreplace
from cesar_watch.core.errors import AttemptError, Kind, LedgerError, SpoolError
from cesar_watch.core.job import FileIdentity, Job, State
from cesar_watch.core.ledger import Ledger
from cesar_watch.core.spool import MARKER, ROOMS, Spool
from cesar_watch.intake.claim import claim
from cesar_watch.intake.scan import Candidate, scan
from tests.builders import NOW, make_spool
from tests.mounting import immutable

OPTIONS = {"engine": {"model": "demo"}, "output": {"formats": ["txt"]}}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db", "spool", owner=True)
    yield opened
    opened.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return marked(make_spool(tmp_path / "spool"))


def marked(spool: Spool) -> Spool:
    """Put its marker into a spool, so that it counts as mounted."""
    (spool.root / MARKER).write_text(json.dumps({"spool_id": spool.spool_id}))
    return spool


def drop(spool: Spool, name: bytes = b"talk.wav", subfolder: str = "", content: bytes = b"sound") -> Candidate:
    """Put a recording into the inbox and look at it, as the scan does."""
    path = spool.inbox / subfolder / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    return Candidate(path, name, os.fsencode(subfolder), path.lstat())


def quietly(job: Job) -> Job:
    return job


def take(candidate: Candidate, spool: Spool, ledger: Ledger, announce: Callable[[Job], Job] = quietly) -> Job | None:
    base = candidate.name.decode("utf-8", "replace")
    bases = ((f"{base}-{number}", f"{base}-{number}") for number in range(1000))
    return claim(candidate, spool, ledger, options=OPTIONS, bases=bases, announce=announce, now=NOW)


def everything_in(spool: Spool) -> set[Path]:
    """All that lies in the rooms, but the rooms themselves."""
    rooms = {spool.root / room for room in ROOMS} | {spool.processing, spool.root / MARKER}
    return set(spool.root.rglob("*")) - rooms


def assert_untouched(candidate: Candidate, spool: Spool, ledger: Ledger) -> None:
    """The recording lies in the inbox, and neither a row nor a folder remembers it."""
    assert everything_in(spool) == {candidate.path}
    assert sum(ledger.counts().values()) == 0


def with_rename(spool: Spool, rename: Rename) -> Spool:
    return Spool(spool.root, spool.instance, spool.spool_id, rename=rename)


# --- what can't be moved ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_file_that_alone_can_not_be_moved_waits_and_stops_nobody(spool: Spool, ledger: Ledger, number: int) -> None:
    candidate = drop(spool)

    def refuse_this_one(source: Path, target: Path) -> None:
        if source == candidate.path:
            raise OSError(number, os.strerror(number), str(source))
        rename_noreplace(source, target)

    with pytest.raises(AttemptError) as caught:
        take(candidate, with_rename(spool, refuse_this_one), ledger)
    assert (caught.value.reason, caught.value.kind) == ("not_movable", Kind.TRANSIENT)
    assert "lsattr" in str(caught.value)
    assert_untouched(candidate, spool, ledger)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_rename_that_is_refused_to_every_file_is_the_spools_fault(spool: Spool, ledger: Ledger, number: int) -> None:
    candidate = drop(spool)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source))

    with pytest.raises(SpoolError) as caught:
        take(candidate, with_rename(spool, refuse), ledger)
    assert caught.value.reason == "not_permitted"
    assert_untouched(candidate, spool, ledger)


def test_immutable_file_waits_and_is_taken_when_it_may_be_moved(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    with immutable(candidate.path), pytest.raises(AttemptError) as caught:
        take(candidate, spool, ledger)
    assert caught.value.reason == "not_movable"
    job = take(Candidate(candidate.path, candidate.name, b"", candidate.path.lstat()), spool, ledger)
    assert job is not None
    assert job.state is State.PENDING


def test_claim_whose_share_goes_away_behind_the_rename_is_not_forgotten(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    away = spool.root.with_name("away")

    def rename_and_unplug(source: Path, target: Path) -> None:
        rename_noreplace(source, target)
        spool.root.rename(away)

    with pytest.raises(SpoolError) as caught:
        take(candidate, with_rename(spool, rename_and_unplug), ledger)
    assert caught.value.reason == "spool_missing"
    (job,) = ledger.jobs([State.CLAIMING])
    assert job.moving_to is not None
    away.rename(spool.root)
    assert spool.absolute(job.moving_to).exists()


def test_claim_without_its_own_folder_in_processing_pauses_instead_of_passing_over_the_file(
    spool: Spool, ledger: Ledger
) -> None:
    candidate = drop(spool)
    spool.processing.rmdir()

    with pytest.raises(SpoolError):
        take(candidate, spool, ledger)
    assert candidate.path.exists()
    assert sum(ledger.counts().values()) == 0


# --- the happy way ----------------------------------------------------------------------------


@pytest.mark.parametrize("rename", [rename_noreplace, link_noreplace])
def test_claim_moves_the_recording_and_queues_it(spool: Spool, ledger: Ledger, rename: Rename) -> None:
    candidate = drop(spool)
    job = take(candidate, with_rename(spool, rename), ledger)

    assert job
    place = spool.job_dir(job.job_id) / "talk.wav"
    assert (job.state, job.source_path(spool.root), job.moving_to) == (State.PENDING, place, None)
    assert place.read_bytes() == b"sound"
    assert everything_in(spool) == {place, place.parent}
    assert ledger.get(job.job_id) == job


def test_claim_records_which_file_it_was(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    job = take(candidate, spool, ledger)

    assert job
    assert job.identity == FileIdentity.of(candidate.stat)
    assert job.identity == FileIdentity.of(job.source_path(spool.root).lstat())
    assert (job.name, job.subfolder, job.options, job.created_at) == (b"talk.wav", b"", OPTIONS, NOW)
    assert [row["event"] for row in ledger.history(job)] == ["claimed"]


def test_claim_from_a_subfolder_remembers_it_and_leaves_the_folder(spool: Spool, ledger: Ledger) -> None:
    job = take(drop(spool, subfolder="radio/monday"), spool, ledger)

    assert job
    assert job.subfolder == b"radio/monday"
    assert (spool.inbox / "radio" / "monday").is_dir()


@pytest.mark.parametrize(
    "name", [b"caf\xe9.wav", b"two\nlines.wav", "🎙.wav".encode(), b"-rf.wav", b"x" * 251 + b".wav"]
)
def test_claim_keeps_the_bytes_of_an_odd_name(spool: Spool, ledger: Ledger, name: bytes) -> None:
    job = take(drop(spool, name), spool, ledger)

    assert job
    assert os.listdir(os.fsencode(spool.job_dir(job.job_id))) == [name]


def test_claims_of_one_name_dropped_again_are_two_jobs(spool: Spool, ledger: Ledger) -> None:
    jobs = [take(drop(spool), spool, ledger) for _ in range(2)]

    assert [job.base for job in jobs if job] == ["talk.wav-0", "talk.wav-1"]
    assert all(job and job.source_path(spool.root).is_file() for job in jobs)


def test_claim_syncs_recording_then_inbox_then_job_folder(
    spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    candidate = drop(spool)
    monkeypatch.setattr(os, "fsync", fsync)
    job = take(candidate, spool, ledger)

    assert job
    folder = spool.job_dir(job.job_id)
    assert synced == [candidate.path, folder.parent, spool.inbox, folder]


def test_claim_is_announced_when_the_recording_is_ours_and_before_anybody_can_lease_it(
    spool: Spool, ledger: Ledger
) -> None:
    announced: list[Job] = []

    def announce(job: Job) -> Job:
        assert job.source_path(spool.root).read_bytes() == b"sound"
        assert ledger.get(job.job_id).state is State.CLAIMING
        announced.append(job)
        return job

    job = take(drop(spool), spool, ledger, announce)

    assert job
    assert [(one.job_id, one.state, one.source) for one in announced] == [(job.job_id, State.PENDING, job.source)]


def test_claim_that_can_not_be_announced_keeps_the_intent_for_recovery(spool: Spool, ledger: Ledger) -> None:
    def announce(job: Job) -> Job:
        raise SpoolError("the outbox is gone")

    with pytest.raises(SpoolError):
        take(drop(spool), spool, ledger, announce)
    (job,) = ledger.jobs([State.CLAIMING])
    assert job.moving_to is not None
    assert spool.absolute(job.moving_to).read_bytes() == b"sound"


def test_claim_of_the_last_recording_of_a_subfolder_that_is_cleared_at_once_succeeds(
    spool: Spool, ledger: Ledger
) -> None:
    def cleared(source: Path, target: Path) -> None:
        rename_noreplace(source, target)
        source.parent.rmdir()

    job = take(drop(spool, subfolder="radio"), with_rename(spool, cleared), ledger)

    assert job
    assert job.state is State.PENDING
    assert everything_in(spool) == {job.source_path(spool.root), spool.job_dir(job.job_id)}


# --- somebody was faster ------------------------------------------------------------------------


def test_claim_of_a_recording_that_was_withdrawn_leaves_no_trace(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    candidate.path.unlink()

    assert take(candidate, spool, ledger) is None
    assert everything_in(spool) == set()
    assert sum(ledger.counts().values()) == 0


def test_claim_of_a_recording_that_goes_just_before_the_rename_leaves_no_trace(spool: Spool, ledger: Ledger) -> None:
    def too_late(source: Path, target: Path) -> None:
        source.unlink()
        rename_noreplace(source, target)

    assert take(drop(spool), with_rename(spool, too_late), ledger) is None
    assert everything_in(spool) == set()
    assert sum(ledger.counts().values()) == 0


def test_claim_by_two_instances_gives_each_recording_to_exactly_one(tmp_path: Path, spool: Spool) -> None:
    for number in range(60):
        drop(spool, b"%02d.wav" % number, content=b"sound %d" % number)
    candidates = [found for found in scan(spool.inbox, SpoolSettings()) if isinstance(found, Candidate)]
    barrier = threading.Barrier(2)
    won: dict[str, list[Job]] = {"one": [], "two": []}
    faults: list[BaseException] = []

    def run(instance: str) -> None:
        try:
            mine = Spool(root=spool.root, instance=instance, spool_id="spool")
            mine.processing.mkdir()
            ledger = Ledger(tmp_path / f"{instance}.db", "spool", owner=True)
            barrier.wait(10)
            for candidate in candidates:
                if job := take(candidate, mine, ledger):
                    won[instance].append(job)
            assert ledger.counts()[State.PENDING] == sum(ledger.counts().values()) == len(won[instance])
            ledger.close()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(instance,)) for instance in won]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)

    assert faults == []
    assert sorted(job.name for jobs in won.values() for job in jobs) == [found.name for found in candidates]
    assert all(job.source_path(spool.root).is_file() for jobs in won.values() for job in jobs)
    files = [path for path in everything_in(spool) if path.is_file()]
    folders = [path for path in everything_in(spool) if path.is_dir()]
    assert sorted(path.name for path in files) == [os.fsdecode(found.name) for found in candidates]
    assert len(folders) == len(candidates) + 2  # a folder each, and the two instances: the losers left none


# --- not as it was, or not ours to take ---------------------------------------------------------


def test_claim_of_a_recording_that_changed_is_put_off_and_forgotten(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    with candidate.path.open("ab") as stream:
        stream.write(b" more")

    with pytest.raises(AttemptError, match=r"talk\.wav waits") as caught:
        take(candidate, spool, ledger)
    assert (caught.value.reason, caught.value.kind) == ("changed", Kind.TRANSIENT)
    assert_untouched(candidate, spool, ledger)
    assert candidate.path.read_bytes() == b"sound more"


def test_claim_of_another_file_under_the_same_name_is_put_off(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    candidate.path.rename(spool.root / "outbox" / "kept.wav")  # so that the inode stays in use
    drop(spool)

    with pytest.raises(AttemptError):
        take(candidate, spool, ledger)
    assert sum(ledger.counts().values()) == 0


def test_claim_of_a_link_that_took_the_recordings_place_is_refused(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    target = spool.root.parent / "secret"
    candidate.path.rename(target)
    candidate.path.symlink_to(target)

    with pytest.raises(AttemptError) as caught:
        take(candidate, spool, ledger)
    assert caught.value.reason == "not_readable"
    assert candidate.path.is_symlink()
    assert_untouched(candidate, spool, ledger)


def test_claim_of_a_pipe_that_took_the_recordings_place_does_not_wait(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    candidate.path.unlink()
    os.mkfifo(candidate.path)

    with pytest.raises(AttemptError):
        take(candidate, spool, ledger)
    assert_untouched(candidate, spool, ledger)


def test_claim_of_a_folder_that_took_the_recordings_place_is_refused(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    candidate.path.unlink()
    candidate.path.mkdir()

    with pytest.raises(AttemptError):
        take(candidate, spool, ledger)
    assert_untouched(candidate, spool, ledger)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ETXTBSY, errno.EAGAIN])
def test_claim_of_a_recording_that_is_held_open_is_put_off(spool: Spool, ledger: Ledger, number: int) -> None:
    def held(_source: Path, _target: Path) -> None:
        raise OSError(number, os.strerror(number))

    candidate = drop(spool)

    with pytest.raises(AttemptError, match="closes it") as caught:
        take(candidate, with_rename(spool, held), ledger)
    assert caught.value.reason == "being_written"
    assert_untouched(candidate, spool, ledger)


# --- systemic faults ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EROFS, "read_only"),
        (errno.EXDEV, "spool_split"),
        (errno.ESTALE, "share_gone"),
    ],
)
def test_claim_whose_rename_fails_keeps_the_recording_and_forgets_it(
    spool: Spool, ledger: Ledger, number: int, reason: str
) -> None:
    def broken(_source: Path, _target: Path) -> None:
        raise OSError(number, os.strerror(number))

    candidate = drop(spool)

    with pytest.raises(SpoolError) as caught:
        take(candidate, with_rename(spool, broken), ledger)
    assert (caught.value.reason, caught.value.kind) == (reason, Kind.SYSTEMIC)
    assert_untouched(candidate, spool, ledger)


def test_claim_whose_rename_happened_before_the_fault_keeps_the_intent_for_recovery(
    spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(spool.inbox):
            raise OSError(errno.EIO, "the disk is broken")
        real(descriptor)

    candidate = drop(spool)
    monkeypatch.setattr(os, "fsync", fsync)

    with pytest.raises(SpoolError) as caught:
        take(candidate, spool, ledger)
    (job,) = ledger.jobs([State.CLAIMING])
    assert caught.value.reason == "disk_error"
    assert job.moving_to is not None
    assert spool.absolute(job.moving_to).read_bytes() == b"sound"
    assert not candidate.path.exists()


def test_claim_without_a_ledger_leaves_the_recording_alone(spool: Spool, ledger: Ledger) -> None:
    candidate = drop(spool)
    ledger._database.execute_sql("DROP TABLE job")

    with pytest.raises(LedgerError):
        take(candidate, spool, ledger)
    assert everything_in(spool) == {candidate.path}


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A filesystem with room for two dozen files."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=24", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` on this machine")
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_claim_on_a_full_disk_keeps_the_recording_and_goes_on_when_there_is_space(
    tmp_path: Path, ledger: Ledger
) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        spool = marked(make_spool(disk / "spool"))
        candidate = drop(spool)
        fillers = []
        with pytest.raises(OSError, match="No space"):
            for number in range(30):
                (disk / f"filler {number}").touch()
                fillers.append(disk / f"filler {number}")

        with pytest.raises(SpoolError) as caught:
            take(candidate, spool, ledger)
        assert caught.value.reason == "disk_full"
        assert_untouched(candidate, spool, ledger)

        fillers.pop().unlink()
        job = take(candidate, spool, ledger)
        assert job
        assert job.source_path(spool.root).read_bytes() == b"sound"
