"""The preloaded counter of calls that change the disk (faultline.c): built, loaded and told what to do.

    preloaded("tests.faults.power")                 # from here on the library is loaded
    ...
    if os.fork() == 0:                              # one life under a fault
        fault = Faultline()
        fault.watch(root)
        fault.arm(57, Action.KILL_AFTER)
        live()

Whole processes are told by their environment: `environment(build(folder), FAULTLINE_AT="57", ...)` (faultline.c).
Everything is set before the threads of a life begin. A forked child inherits settings and count.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).with_name("faultline.c")
NO_COMPILER = "there is no C compiler (cc) on this machine: install gcc to build tests/faults/faultline.c"
"""Why a test that needs the library is skipped: `pytest.mark.skipif(not has_compiler(), reason=NO_COMPILER)`."""


class Action(enum.IntEnum):
    """What happens at the armed call; the values are those of faultline.c."""

    NONE = 0
    KILL_BEFORE = 1
    KILL_AFTER = 2
    FAIL = 3
    SHORT_WRITE = 4
    """A write of more than one byte writes half; nothing happens where the call is no write."""


def has_compiler() -> bool:
    """Whether `build` can work here."""
    return shutil.which("cc") is not None


def build(folder: Path) -> Path:
    """Compile the library into `folder` and return its path.

    Raises:
        RuntimeError: There is no C compiler, or it refused the source: its words are in the message.
    """
    if not has_compiler():
        raise RuntimeError(NO_COMPILER)
    library = folder / "faultline.so"
    command = ["cc", "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return library


def environment(library: Path, **settings: str) -> dict[str, str]:
    """Return this process's environment with the library loaded; `settings` such as FAULTLINE_AT are added.

    No byte code is written and nothing phones home, so that the same life makes the same calls every time.
    """
    steady = {"PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    return {**os.environ, **steady, "LD_PRELOAD": str(library), **settings}


def preloaded(module: str) -> None:
    """Return at once with the library loaded; otherwise run `python -m module` with it, and end as that ends.

    Raises:
        RuntimeError: The library can't be built; the reason is in it.
        SystemExit: It ran.
    """
    if Faultline.is_loaded():
        return
    with tempfile.TemporaryDirectory(prefix="cesar-faultline-") as folder:
        command = [sys.executable, "-m", module, *sys.argv[1:]]
        with subprocess.Popen(command, env=environment(build(Path(folder)))) as process:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; this one waits
            status = process.wait()
    raise SystemExit(status if status >= 0 else 128 - status)


class Faultline:
    """The control functions of the library that is loaded into this process.

    Raises:
        RuntimeError: It is not loaded.
    """

    def __init__(self) -> None:
        if not self.is_loaded():
            raise RuntimeError("faultline is not loaded: start this process with tests.faults.preload.environment().")
        self._library = _functions()

    @staticmethod
    def is_loaded() -> bool:
        """Whether this process was started with the library."""
        return hasattr(_functions(), "faultline_arm")

    def watch(self, path: Path) -> None:
        """Count calls below `path` (links in it are followed once, now); up to four paths."""
        if self._library.faultline_watch(os.fsencode(path.resolve())) != 0:
            raise ValueError(f"{path} is one path too many, or too long.")

    def arm(self, at: int, action: Action, error: int = 0, *, forever: bool = False) -> None:
        """Begin to count at 1; the fault comes at call `at`, never where that is 0.

        Args:
            action: `Action.NONE` only tells of the call, or of all from it on.
            error: The errno of `Action.FAIL`.
            forever: Fail every call from `at` on. EINTR fails every second one, since a caller rightly tries
                again at once.
        """
        self._library.faultline_arm(ctypes.c_long(at), int(action), error, int(forever))

    def power(self, mount: Path, *, committed: bool = False) -> None:
        """Cut the power of the ext4 or XFS filesystem mounted here at the moment of a kill; up to four.

        Its disk then holds what was synced, as a plug that is pulled leaves it.

        Args:
            committed: Its journal was written by the clock just before: all names are there, but of contents only
                what was synced.
        """
        if self._library.faultline_power(os.fsencode(mount), int(committed)) != 0:
            raise ValueError(f"The power of {mount} can't be cut: not a folder, or one too many.")

    def disarm(self) -> None:
        """Forget all paths, mounts and the fault; `count` stands still."""
        self._library.faultline_disarm()

    @staticmethod
    @contextlib.contextmanager
    def paused() -> Iterator[None]:
        """Let this thread's calls pass uncounted: they are the world's doing, not the program's.

        Does nothing in a process without the library; not to be nested.
        """
        if not Faultline.is_loaded():
            yield
            return
        library = _functions()
        library.faultline_pause(1)
        try:
            yield
        finally:
            library.faultline_pause(0)

    def count(self) -> int:
        """Return how many calls were counted since `arm`."""
        return int(self._library.faultline_count())

    def report_to(self, descriptor: int) -> None:
        """Write the line `NUMBER CALL PATH [-> PATH]` to this descriptor when the fault comes."""
        self._library.faultline_report_fd(descriptor)


def _functions() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    if hasattr(library, "faultline_count"):
        library.faultline_count.restype = ctypes.c_long
    return library
