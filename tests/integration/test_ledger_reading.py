"""Looking at the ledger changes nothing on the disk, and works where nothing can be changed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import LedgerError
from cesar_watch.core.job import State
from cesar_watch.core.ledger import Ledger
from cesar_watch.core.spool import read_marker
from cesar_watch.service.house import visit_house
from tests.fakes import FakeEngine
from tests.mounting import fill, mount, tmpfs, unmount
from tests.processes import command
from tests.service_builders import Rig, open_rig, settings_for


def claim(rig: Rig, name: str) -> None:
    rig.drop(name)
    rig.claim_all()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The root of a spool with one waiting job whose service ended in order."""
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        claim(rig, "talk.mp3")
    return tmp_path / "spool"


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The same, but the service died: a second job is only in the -wal."""
    with open_rig(tmp_path / "first", FakeEngine()) as rig:
        claim(rig, "talk.mp3")
    with open_rig(tmp_path / "first", FakeEngine()) as rig:
        claim(rig, "more.mp3")
        shutil.copytree(tmp_path / "first", tmp_path / "spool")
    return tmp_path / "spool"


def content(root: Path) -> dict[Path, tuple[Any, ...]]:
    """Return every file below with its content, its last change, its owner and mode."""
    stats = {path: path.stat() for path in root.rglob("*") if path.is_file()}
    return {
        path: (path.read_bytes(), stat.st_mtime_ns, stat.st_uid, stat.st_gid, stat.st_mode)
        for path, stat in stats.items()
    }


def names(root: Path) -> list[bytes]:
    with visit_house(settings_for(root)) as house:
        assert not house.ledger.is_snapshot
        return [job.name for job in house.ledger.jobs()]


def test_visitor_of_a_stopped_service_sees_all_and_changes_nothing(stopped: Path) -> None:
    before = content(stopped)
    assert names(stopped) == [b"talk.mp3"]
    assert content(stopped) == before


def test_visitor_of_a_killed_service_sees_its_last_commits_and_changes_nothing(killed: Path) -> None:
    before = content(killed)
    assert names(killed) == [b"talk.mp3", b"more.mp3"]
    assert content(killed) == before


def test_visitor_of_a_running_service_sees_what_it_commits_meanwhile(stopped: Path) -> None:
    with open_rig(stopped, FakeEngine()) as rig, visit_house(settings_for(stopped)) as house:
        for number in range(3):
            claim(rig, f"{number}.mp3")
            assert len(house.ledger.jobs()) == number + 2
        rig.work()
        assert house.ledger.counts()[State.COMPLETED] == 4


def test_visitor_can_change_nothing_even_by_mistake(stopped: Path) -> None:
    with visit_house(settings_for(stopped)) as house, pytest.raises(LedgerError):
        house.ledger.ask(house.ledger.jobs()[0], None)


def test_visitor_of_a_killed_service_whose_index_is_gone_sees_the_last_checkpoint_and_says_so(killed: Path) -> None:
    (killed / ".state/ledger.db-shm").unlink()
    before = content(killed)
    with visit_house(settings_for(killed)) as house:
        assert house.ledger.is_snapshot
        assert [job.name for job in house.ledger.jobs()] == [b"talk.mp3"]
    assert content(killed) == before


def test_commands_say_that_they_show_the_last_checkpoint_only(killed: Path) -> None:
    (killed / ".state/ledger.db-shm").unlink()
    config = killed / "config.toml"
    config.write_text('[spool]\nroot = "."\n')
    listed = command("jobs", "--config", config, cwd=killed)
    status = command("status", "--config", config, cwd=killed)
    assert (listed.returncode, status.returncode) == (0, 0)
    assert "last checkpoint" in listed.stderr
    assert "last checkpoint" in " ".join(status.stdout.split())


# --- where nothing can be written ---------------------------------------------------------------


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        unmount(folder)


@pytest.mark.parametrize("life", ["stopped", "killed"])
def test_visitor_reads_on_a_read_only_disk(request: pytest.FixtureRequest, life: str) -> None:
    root: Path = request.getfixturevalue(life)
    expected = names(root)
    with read_only(root):
        assert names(root) == expected


@pytest.mark.parametrize("life", ["stopped", "killed"])
def test_visitor_reads_on_a_full_disk(request: pytest.FixtureRequest, life: str, tmp_path: Path) -> None:
    root: Path = request.getfixturevalue(life)
    expected = names(root)
    with tmpfs(tmp_path / "small", size_kib=1024) as small:
        shutil.copytree(root, small / "spool")
        fill(small)
        assert names(small / "spool") == expected


def test_visitor_of_a_running_service_reads_on_a_full_disk(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", size_kib=2048) as small, open_rig(small / "spool", FakeEngine()) as rig:
        claim(rig, "talk.mp3")
        film = fill(small)
        assert names(small / "spool") == [b"talk.mp3"]
        film.unlink()


def test_reader_without_permission_to_write_reads(killed: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    state = killed / ".state"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for folder in (killed, *killed.parents):
                if folder.stat().st_uid == 0 and folder != Path("/"):
                    folder.chmod(folder.stat().st_mode | 0o755)
            for path in state.iterdir():
                path.chmod(0o644)
            os.setgid(65534)
            os.setuid(65534)
            ledger = Ledger(state / "ledger.db", read_marker(killed), reading=True)
            status = 0 if len(ledger.jobs()) == 2 and not ledger.is_snapshot else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
