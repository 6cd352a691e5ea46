"""Each intercepted call is counted once, and killed, failed or shortened with the right effect on disk.

A preloaded process, the player, forks a child for every case; the child makes one call by its name in the C library,
or lives a short life in Python and SQLite, in a folder of its own.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from cesar_watch.core.durable import rename_noreplace
from tests.faults.preload import NO_COMPILER, Action, Faultline, build, environment, has_compiler

pytestmark = pytest.mark.skipif(not has_compiler(), reason=NO_COMPILER)

KILLED = -signal.SIGKILL
REPOSITORY = Path(__file__).parents[2]
BEFORE = {"folder": None, "old": "12345678", "other": "abcdefgh"}
"""What lies in each child's folder; folders hold None."""


class Part(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_char_p), ("size", ctypes.c_size_t))


NEW = b"brand new"
PARTS = (Part * 1)(Part(NEW, len(NEW)))
CWD = -100
REMOVEDIR = 0x200
long = ctypes.c_long


class Hands(NamedTuple):
    """The C library and two descriptors: of the file `old`, and of the folder that it is in."""

    libc: ctypes.CDLL
    old: int
    here: int
    other: int


CHANGES: dict[str, Callable[[Hands], int]] = {
    "write": lambda h: h.libc.write(h.old, NEW, len(NEW)),
    "pwrite": lambda h: h.libc.pwrite(h.old, NEW, len(NEW), long(0)),
    "pwrite64": lambda h: h.libc.pwrite64(h.old, NEW, len(NEW), long(0)),
    "writev": lambda h: h.libc.writev(h.old, PARTS, 1),
    "pwritev": lambda h: h.libc.pwritev(h.old, PARTS, 1, long(0)),
    "pwritev64": lambda h: h.libc.pwritev64(h.old, PARTS, 1, long(0)),
    "pwritev2": lambda h: h.libc.pwritev2(h.old, PARTS, 1, long(0), 0),
    "pwritev64v2": lambda h: h.libc.pwritev64v2(h.old, PARTS, 1, long(0), 0),
    "ftruncate": lambda h: h.libc.ftruncate(h.old, long(3)),
    "ftruncate64": lambda h: h.libc.ftruncate64(h.old, long(3)),
    "truncate": lambda h: h.libc.truncate(b"old", long(3)),
    "truncate64": lambda h: h.libc.truncate64(b"old", long(3)),
    "fallocate": lambda h: h.libc.fallocate(h.old, 0, long(0), long(20)),
    "fallocate64": lambda h: h.libc.fallocate64(h.old, 0, long(0), long(20)),
    "posix_fallocate": lambda h: h.libc.posix_fallocate(h.old, long(0), long(20)),
    "posix_fallocate64": lambda h: h.libc.posix_fallocate64(h.old, long(0), long(20)),
    "copy_file_range": lambda h: h.libc.copy_file_range(h.other, None, h.old, None, 8, 0),
    "sendfile": lambda h: h.libc.sendfile(h.old, h.other, None, 8),
    "sendfile64": lambda h: h.libc.sendfile64(h.old, h.other, None, 8),
    "rename": lambda h: h.libc.rename(b"old", b"new"),
    "renameat": lambda h: h.libc.renameat(h.here, b"old", h.here, b"new"),
    "renameat2": lambda h: h.libc.renameat2(CWD, b"old", h.here, b"new", 1),
    "link": lambda h: h.libc.link(b"old", b"new"),
    "linkat": lambda h: h.libc.linkat(h.here, b"old", CWD, b"new", 0),
    "symlink": lambda h: h.libc.symlink(b"other", b"new"),
    "symlinkat": lambda h: h.libc.symlinkat(b"other", h.here, b"new"),
    "unlink": lambda h: h.libc.unlink(b"old"),
    "unlinkat": lambda h: h.libc.unlinkat(h.here, b"folder", REMOVEDIR),
    "mkdir": lambda h: h.libc.mkdir(b"new", 0o700),
    "mkdirat": lambda h: h.libc.mkdirat(h.here, b"new", 0o700),
    "rmdir": lambda h: h.libc.rmdir(b"folder"),
    "creat": lambda h: h.libc.creat(b"new", 0o600),
    "creat64": lambda h: h.libc.creat64(b"old", 0o600),
    "open": lambda h: h.libc.open(b"new", os.O_CREAT | os.O_WRONLY, 0o600),
    "open64": lambda h: h.libc.open64(b"old", os.O_TRUNC | os.O_WRONLY),
    "openat": lambda h: h.libc.openat(h.here, b"new", os.O_CREAT | os.O_WRONLY, 0o600),
    "openat64": lambda h: h.libc.openat64(h.here, b"old", os.O_TRUNC | os.O_WRONLY),
}
SYNCS: dict[str, Callable[[Hands], int]] = {
    "fsync": lambda h: h.libc.fsync(h.old),
    "fdatasync": lambda h: h.libc.fdatasync(h.old),
    "syncfs": lambda h: h.libc.syncfs(h.old),
    "sync_file_range": lambda h: h.libc.sync_file_range(h.old, long(0), long(0), 0),
}
WRITES = [name for name in CHANGES if "write" in name]
RETURN_THEIR_ERROR = ("posix_fallocate", "posix_fallocate64")


def _outside(hands: Hands) -> None:
    """Calls that change nothing below the folder."""
    reading, writing = os.pipe()
    os.write(writing, b"x")
    Path("old").read_bytes()
    os.close(os.open("old", os.O_RDWR))
    elsewhere = Path(f"../elsewhere-{os.getpid()}")
    elsewhere.write_bytes(b"x")
    elsewhere.unlink()
    os.close(reading)


def _python(hands: Hands) -> None:
    Path("made").mkdir()
    Path("made/file").write_bytes(b"x")
    os.replace("made/file", "made/there")
    rename_noreplace(Path("made/there"), Path("made/../made/.//back"))
    shutil.rmtree("made")


def _sqlite(hands: Hands) -> None:
    connection = apsw.Connection("ledger.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (a)")
    connection.close()


def _threads(hands: Hands) -> None:
    def sync() -> None:
        for _ in range(50):
            os.fsync(hands.old)

    threads = [threading.Thread(target=sync) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _paused(hands: Hands) -> None:
    with Faultline.paused():
        os.fsync(hands.old)
    os.fsync(hands.old)


def _patient(hands: Hands) -> None:
    """Python makes an interrupted call again by itself."""
    os.write(hands.old, b"first")
    os.write(hands.old, b"second")


def _stubborn(hands: Hands) -> int:
    """Tries three times; returns how many calls failed."""
    return sum(hands.libc.fsync(hands.old) for _ in range(3))


LIVES: dict[str, Callable[[Hands], Any]] = {
    "outside": _outside,
    "python": _python,
    "sqlite": _sqlite,
    "threads": _threads,
    "paused": _paused,
    "patient": _patient,
    "stubborn": _stubborn,
}


# --- the player, in a preloaded process ------------------------------------------------------------


def _play(at: int, action: int, error: int, forever: bool, name: str) -> dict[str, Any]:
    """Let a child live one case in the current folder; return what it said, how it ended, and what it left."""
    for path in Path().iterdir():
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    for known, content in BEFORE.items():
        Path(known).mkdir() if content is None else Path(known).write_text(content)
    said, lines = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        hands = Hands(
            ctypes.CDLL(None, use_errno=True), os.open("old", os.O_RDWR), os.open(".", os.O_RDONLY), os.open("other", 0)
        )
        fault = Faultline()
        fault.watch(Path.cwd())
        fault.report_to(lines[1])
        fault.arm(at, Action(action), error, forever=forever)
        result = ({**CHANGES, **SYNCS, **LIVES}[name])(hands)
        fault.disarm()
        told = {"result": result, "errno": ctypes.get_errno(), "count": fault.count()}
        os.write(said[1], json.dumps(told).encode())
        os._exit(0)
    os.close(said[1])
    os.close(lines[1])
    with open(said[0], "rb") as words, open(lines[0], "rb") as report:
        last_words, line = words.read(), report.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "line": line, "files": _files(), **(json.loads(last_words) if last_words else {})}


def _files() -> dict[str, str | None]:
    return {path.name: path.read_text("latin-1") if path.is_file() else None for path in sorted(Path().iterdir())}


class Player:
    """The preloaded process, asked case by case."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def play(
        self, name: str, at: int = 0, action: Action = Action.NONE, error: int = 0, *, forever: bool = False
    ) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([at, action, error, forever, name]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faultline"))


@pytest.fixture(scope="module")
def player(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.test_preload"],
        env=environment(library, PYTHONPATH=str(REPOSITORY)),
        cwd=tmp_path_factory.mktemp("folder"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Player(process)


# --- every call ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CHANGES, *SYNCS])
def test_call_is_counted_once_and_made(player: Player, name: str) -> None:
    done = player.play(name)

    assert (done["status"], done["count"], done["line"]) == (0, 1, "")
    assert done["result"] >= 0
    assert (done["files"] != BEFORE) == (name in CHANGES)


@pytest.mark.parametrize("name", [*CHANGES, *SYNCS])
def test_call_killed_before_leaves_the_disk_unchanged_and_is_named(player: Player, name: str) -> None:
    done = player.play(name, 1, Action.KILL_BEFORE)

    assert done["status"] == KILLED
    assert done["files"] == BEFORE
    assert done["line"].startswith(f"1 {name} /")


@pytest.mark.parametrize("name", [*CHANGES, *SYNCS])
def test_call_killed_after_has_happened(player: Player, name: str) -> None:
    done = player.play(name, 1, Action.KILL_AFTER)

    assert done["status"] == KILLED
    assert done["files"] == player.play(name)["files"]


@pytest.mark.parametrize("name", [*CHANGES, *SYNCS])
def test_call_that_fails_gives_the_errno_and_leaves_the_disk_unchanged(player: Player, name: str) -> None:
    done = player.play(name, 1, Action.FAIL, errno.EDQUOT)

    seen = done["result"] if name in RETURN_THEIR_ERROR else done["errno"]
    assert (done["status"], seen) == (0, errno.EDQUOT)
    assert name in RETURN_THEIR_ERROR or done["result"] == -1
    assert done["files"] == BEFORE


@pytest.mark.parametrize("name", WRITES)
def test_write_that_is_short_writes_half(player: Player, name: str) -> None:
    done = player.play(name, 1, Action.SHORT_WRITE)

    assert done["result"] == 5
    assert done["files"]["old"] == "brand678"


@pytest.mark.parametrize("name", ["fsync", "rename", "open"])
def test_short_write_at_another_call_changes_nothing(player: Player, name: str) -> None:
    done = player.play(name, 1, Action.SHORT_WRITE)

    assert (done["result"] >= 0, done["line"]) == (True, "")
    assert done["files"] == player.play(name)["files"]


# --- lives -----------------------------------------------------------------------------------------


def test_calls_elsewhere_on_pipes_and_reading_are_not_counted(player: Player) -> None:
    assert player.play("outside")["count"] == 0


def test_python_is_seen_in_every_call(player: Player) -> None:
    names = [player.play("python", at, Action.KILL_BEFORE)["line"].split()[1] for at in range(1, 8)]

    assert names == ["mkdir", "open64", "write", "rename", "renameat2", "unlinkat", "rmdir"]
    assert player.play("python")["count"] == len(names)


def test_path_is_told_absolute_and_tidy_with_its_target(player: Player) -> None:
    line = player.play("python", 5, Action.KILL_BEFORE)["line"]

    source, _, target = line.split(" ", 2)[2].strip().partition(" -> ")
    assert source.endswith("/made/there")
    assert target == source.removesuffix("there") + "back"


def test_sqlite_is_seen_in_every_kind_of_its_calls(player: Player) -> None:
    count = player.play("sqlite")["count"]
    lines = [player.play("sqlite", at, Action.KILL_BEFORE)["line"] for at in range(1, count + 1)]

    assert {"open64", "pwrite64", "fdatasync", "ftruncate64", "unlink"} <= {line.split()[1] for line in lines}
    assert any(line.strip().endswith("ledger.db-wal") for line in lines)


def test_threads_share_one_count(player: Player) -> None:
    assert player.play("threads")["count"] == 200
    assert player.play("threads", 200, Action.KILL_AFTER)["status"] == KILLED


def test_pause_lets_calls_of_the_world_pass_uncounted(player: Player) -> None:
    assert player.play("paused")["count"] == 1


def test_fault_beyond_the_last_call_never_comes(player: Player) -> None:
    assert player.play("python", 8, Action.KILL_BEFORE)["status"] == 0


def test_failure_happens_once_or_from_then_on(player: Player) -> None:
    assert player.play("stubborn", 2, Action.FAIL, errno.EIO)["result"] == -1
    assert player.play("stubborn", 2, Action.FAIL, errno.EIO, forever=True)["result"] == -2


def test_interruption_for_ever_lets_every_second_call_through(player: Player) -> None:
    done = player.play("patient", 1, Action.FAIL, errno.EINTR, forever=True)

    assert (done["status"], done["count"]) == (0, 4)
    assert done["files"]["old"] == "firstsecond"


def test_whole_process_is_told_by_its_environment(library: Path, tmp_path: Path) -> None:
    program = "import os; os.mkdir('one'); os.mkdir('two')"
    settings = {
        "FAULTLINE_WATCH": f"/nowhere:{tmp_path}",
        "FAULTLINE_AT": "2",
        "FAULTLINE_ACTION": "kill_before",
        "FAULTLINE_REPORT": str(tmp_path / "report"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(library, **settings), cwd=tmp_path, check=False
    )

    assert done.returncode == KILLED
    assert (tmp_path / "report").read_text() == f"2 mkdir {tmp_path}/two\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "report"]


def test_library_that_is_not_loaded_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="start this process with"):
        Faultline()


if __name__ == "__main__":
    for request in sys.stdin:
        sys.stdout.write(json.dumps(_play(*json.loads(request))) + "\n")
        sys.stdout.flush()
