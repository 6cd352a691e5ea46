"""The disks of the power-loss sweep keep what was synced, lose what was not, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.disks import (
    BTRFS,
    EXT4,
    MEMORY,
    PREFIX,
    XFS,
    Disk,
    Filesystem,
    mount_tmpfs,
    resize_tmpfs,
    unmount,
    why_not,
    workshop,
)
from tests.faults.driver import forked
from tests.faults.preload import NO_COMPILER, Action, Faultline, build, environment, has_compiler

every_filesystem = pytest.mark.parametrize("filesystem", [EXT4, XFS, BTRFS], ids=lambda one: one.name)


def _apart(life: Callable[[Path], None], *filesystems: Filesystem) -> None:
    """Do something in a workshop, in a child: a mount namespace is entered for good."""
    if reason := why_not(*filesystems):
        pytest.skip(reason)

    def child() -> None:
        with workshop() as folder:
            life(folder)

    outcome = forked(child)
    assert outcome.how == "done", outcome.words


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


@every_filesystem
def test_power_cut_keeps_what_was_synced_and_loses_the_rest(filesystem: Filesystem) -> None:
    def life(folder: Path) -> None:
        disk = Disk(filesystem, folder, "disk")
        synced, unsynced, renamed = (disk.mount_point / name for name in ("synced", "unsynced", "renamed"))
        synced.write_bytes(b"old")
        disk.sync()
        for round_ in range(3):
            synced.write_bytes(b"%d" % round_)
            _sync(synced)
            unsynced.write_bytes(b"lost")
            synced.rename(renamed)
            disk.lose_power()
            assert synced.read_bytes() == b"%d" % round_
            assert not renamed.exists()
            assert not unsynced.exists() or unsynced.read_bytes() == b""
        disk.close()

    _apart(life, filesystem)


def test_folder_sync_makes_a_rename_survive() -> None:
    def life(folder: Path) -> None:
        disk = Disk(EXT4, folder, "disk")
        old, new = disk.mount_point / "old", disk.mount_point / "new"
        old.write_bytes(b"whole")
        disk.sync()
        old.rename(new)
        _sync(disk.mount_point)
        disk.lose_power()
        assert (new.read_bytes(), old.exists()) == (b"whole", False)
        disk.close()

    _apart(life, EXT4)


def test_rename_over_a_file_does_not_sync_its_content() -> None:
    def life(folder: Path) -> None:
        disk = Disk(EXT4, folder, "disk")
        old, new = disk.mount_point / "old", disk.mount_point / "new"
        old.write_bytes(b"whole")
        disk.sync()
        new.write_bytes(b"newer")
        new.rename(old)
        _sync(disk.mount_point)
        disk.lose_power()
        assert old.read_bytes() == b""
        disk.close()

    _apart(life, EXT4)


def test_two_disks_lose_their_power_at_the_same_call(tmp_path: Path) -> None:
    if not has_compiler():
        pytest.skip(NO_COMPILER)
    if reason := why_not(EXT4, XFS):
        pytest.skip(reason)
    program = "from tests.faults.test_disks import cut_two; cut_two()"
    preloaded = environment(build(tmp_path), PYTHONPATH=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", program], env=preloaded, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def cut_two() -> None:
    """Runs with the library loaded."""
    with workshop() as folder:
        disks = [Disk(EXT4, folder, "one"), Disk(XFS, folder, "two")]
        child = os.fork()
        if child == 0:
            fault = Faultline()
            for disk in disks:
                fault.power(disk.mount_point)
                fault.watch(disk.mount_point)
            fault.arm(4, Action.KILL_BEFORE)
            for disk in disks:
                (disk.mount_point / "made").mkdir()
                _sync(disk.mount_point)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        for disk in disks:
            disk.lose_power()
        assert [(disk.mount_point / "made").exists() for disk in disks] == [True, False]
        for disk in disks:
            disk.close()


def test_tmpfs_is_full_and_gets_room() -> None:
    def life(folder: Path) -> None:
        path = folder / "disk" / "file"
        path.parent.mkdir()
        mount_tmpfs(path.parent, "size=64m")
        path.write_bytes(b"x" * 8192)
        resize_tmpfs(path.parent, "size=8k")
        with pytest.raises(OSError) as caught:
            path.write_bytes(b"x" * 8193)
        assert caught.value.errno == errno.ENOSPC
        resize_tmpfs(path.parent, "size=64m")
        path.write_bytes(b"x" * 8193)
        unmount(path.parent)

    _apart(life)


def test_killed_run_leaves_a_folder_at_most_and_the_next_run_removes_it() -> None:
    if reason := why_not(EXT4):
        pytest.skip(reason)

    def die() -> None:
        with workshop() as folder:
            Disk(EXT4, folder, "disk")
            os.kill(os.getpid(), signal.SIGKILL)

    before = _leftovers()
    assert forked(die).how == "killed"
    (left,) = _leftovers() - before
    assert not _is_attached(left)
    _apart(lambda folder: None)
    assert left not in _leftovers()


def test_interrupted_run_leaves_nothing() -> None:
    if reason := why_not(EXT4):
        pytest.skip(reason)

    def interrupted() -> None:
        with workshop() as folder:
            Disk(EXT4, folder, "disk")
            raise KeyboardInterrupt

    before = _leftovers()
    assert "KeyboardInterrupt" in forked(interrupted).words
    assert _leftovers() <= before


def test_tool_that_is_missing_is_a_reason_to_skip() -> None:
    unknown = Filesystem("zfs", ("mkfs.of-nobody",), 1 << 20, "", has_shutdown=False)
    if reason := why_not():
        pytest.skip(reason)

    assert "mkfs.of-nobody is missing" in str(why_not(unknown))


def _leftovers() -> set[Path]:
    return set(MEMORY.glob(f"{PREFIX}*"))


def _is_attached(folder: Path) -> bool:
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return any(path.read_text().startswith(str(folder)) for path in files if path.exists())
