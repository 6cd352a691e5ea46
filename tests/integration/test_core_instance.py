"""One process owns a state directory: real locks, real processes, real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cesar_watch.core.errors import AlreadyRunning, Kind, SpoolError
from cesar_watch.core.instance import (
    instance_lock,
    is_running,
    make_state_dir,
    open_instance,
    read_instance,
)
from cesar_watch.core.mounts import filesystem_type, is_remote

REPOSITORY = Path(__file__).parents[2]
HOLD = """
import subprocess, sys
from pathlib import Path
from cesar_watch.core.instance import instance_lock
with instance_lock(Path(sys.argv[1])):
    child = subprocess.Popen(["cat"], close_fds=False) if "child" in sys.argv else None
    print(child.pid if child else "held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(state_dir: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that owns the state directory until it is killed or its input ends."""
    command = [sys.executable, "-c", HOLD, str(state_dir), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_lock_held_by_another_process_is_refused(tmp_path: Path) -> None:
    with holder(tmp_path):
        with pytest.raises(AlreadyRunning) as caught, instance_lock(tmp_path):
            pass
        assert (caught.value.exit_code, caught.value.kind) == (4, Kind.SYSTEMIC)
        assert str(tmp_path) in str(caught.value)


def test_lock_held_in_the_same_process_is_refused_and_kept(tmp_path: Path) -> None:
    with instance_lock(tmp_path):
        for _ in range(2):  # the refused attempt gives nothing away
            with pytest.raises(AlreadyRunning), instance_lock(tmp_path):
                pass


def test_lock_is_free_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with instance_lock(tmp_path):
            assert is_running(tmp_path)
    assert not is_running(tmp_path)


def test_lock_is_free_again_after_the_block_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), instance_lock(tmp_path):
        raise ZeroDivisionError
    assert not is_running(tmp_path)


def test_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with instance_lock(tmp_path):
            assert is_running(tmp_path)


def test_lock_is_not_inherited_by_a_child_that_outlives_its_owner(tmp_path: Path) -> None:
    with holder(tmp_path, "child") as (process, child):
        assert is_running(tmp_path)
        process.kill()
        process.wait(10)
        os.kill(int(child), 0)  # the child lives
        assert not is_running(tmp_path)


def test_lock_leaves_no_file_that_could_be_deleted_under_its_owner(tmp_path: Path) -> None:
    with instance_lock(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_lock_outlives_everything_that_is_deleted_from_the_directory(tmp_path: Path) -> None:
    open_instance(tmp_path)
    with holder(tmp_path):
        for path in tmp_path.iterdir():
            path.unlink()
        assert is_running(tmp_path)
        with pytest.raises(AlreadyRunning), instance_lock(tmp_path):
            pass


def test_lock_is_refused_while_a_forked_child_still_has_it(tmp_path: Path) -> None:
    """Between fork and exec a child shares its parent's descriptors; both locks must then agree."""
    read, write = os.pipe()
    with instance_lock(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    try:
        assert is_running(tmp_path)
        with pytest.raises(AlreadyRunning), instance_lock(tmp_path):
            pass
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)
    assert not is_running(tmp_path)


def test_is_running_asks_and_takes_nothing(tmp_path: Path) -> None:
    with instance_lock(tmp_path):
        pass
    assert not is_running(tmp_path)
    with holder(tmp_path) as (_, answer):
        assert answer == "held"
        assert is_running(tmp_path)
        assert is_running(tmp_path)


def test_is_running_of_an_unused_directory_is_false_and_makes_nothing(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    assert not is_running(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_lock_in_a_missing_directory_is_a_spool_fault(tmp_path: Path) -> None:
    with pytest.raises(SpoolError), instance_lock(tmp_path / "absent"):
        pass


# --- state directory ----------------------------------------------------------------------


def test_state_directory_is_made_with_its_parents_and_empty(tmp_path: Path) -> None:
    state_dir = tmp_path / "var" / "state"
    make_state_dir(state_dir)
    make_state_dir(state_dir)

    assert list(state_dir.iterdir()) == []


def test_open_instance_makes_an_id_up_and_keeps_it(tmp_path: Path) -> None:
    first = open_instance(tmp_path)

    assert open_instance(tmp_path) == read_instance(tmp_path) == first
    assert len(first) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["instance"]


def test_lock_by_several_at_once_is_given_to_one(tmp_path: Path) -> None:
    for _ in range(10):
        barrier = threading.Barrier(4)
        given: list[bool] = []

        def start(barrier: threading.Barrier = barrier, given: list[bool] = given) -> None:
            barrier.wait(10)
            try:
                with instance_lock(tmp_path):
                    given.append(True)
                    barrier.wait(10)
            except AlreadyRunning:
                given.append(False)
                barrier.wait(10)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(given) == [False, False, False, True]


@pytest.mark.parametrize("content", [b"", b"xyz", b"0123456", b"0123456789", b"\xff" * 8, b"../../..", b"ABCDEF01"])
def test_open_instance_with_a_damaged_id_says_so_and_leaves_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "instance").write_bytes(content)

    with pytest.raises(SpoolError) as caught:
        open_instance(tmp_path)
    assert caught.value.reason == "state_damaged"
    assert (tmp_path / "instance").read_bytes() == content


@pytest.mark.parametrize("step", [make_state_dir, open_instance])
def test_state_directory_where_a_file_lies_is_a_spool_fault(tmp_path: Path, step: Callable[[Path], object]) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(SpoolError):
        step(tmp_path / "state")


def test_read_instance_of_an_unused_directory_is_a_spool_fault(tmp_path: Path) -> None:
    with pytest.raises(SpoolError):
        read_instance(tmp_path)


# --- filesystems --------------------------------------------------------------------------


def test_filesystem_type_of_proc_is_proc() -> None:
    assert filesystem_type(Path("/proc/self")) == "proc"


def test_filesystem_type_of_a_missing_path_is_that_of_its_parents(tmp_path: Path) -> None:
    assert filesystem_type(tmp_path / "absent" / "deeper") == filesystem_type(tmp_path) != ""


def test_filesystem_type_looks_through_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")

    assert filesystem_type(tmp_path / "link") == "proc"


def test_temporary_folder_is_not_remote(tmp_path: Path) -> None:
    assert not is_remote(tmp_path)
