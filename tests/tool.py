"""Programs of somebody else's that a test holds, or breaks off, in the middle of what they do.

They are held by stopping their processes, or by what they are given to read, for as long as it takes until the service
has looked at what they have written so far, and would have taken it if it could be fooled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.processes import until


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip tests where a program is missing, saying which."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@dataclass
class Tool:
    """A program of somebody else's and its children, in a process group of their own."""

    process: subprocess.Popen[bytes]

    @property
    def stdin(self) -> IO[bytes]:
        """What the program reads."""
        assert self.process.stdin is not None
        return self.process.stdin

    def feed(self, content: bytes) -> None:
        """Give the program these bytes to read."""
        self.stdin.write(content)
        self.stdin.flush()

    def ends(self) -> None:
        """Wait until it has ended well."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        assert self.process.wait(50) == 0

    def breaks_off(self) -> None:
        """Kill it, with all its children, in the middle of what it does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(50)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Hold it, with all its children, for the length of the block."""
        assert self.process.poll() is None, "it had ended before it could be stopped"
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def tool(*arguments: str | Path, cwd: Path, log: Path | None = None, **settings: str) -> Iterator[Tool]:
    """Run a program beside the test, its standard input a pipe; killed at the end if it still runs."""
    with (log or cwd / "tool.log").open("ab") as output:
        process = subprocess.Popen(
            [*map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "HOME": str(cwd), **settings},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Tool(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()


def grows(folder: Path, pattern: str, beyond_bytes: int = 0) -> Path:
    """Wait until a file of such a name, hidden ones too, has more than so many bytes; return it."""

    def found() -> Path | None:
        for path in folder.rglob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_size > beyond_bytes:
                    return path
        return None

    path: Path = until(found, f"more than {beyond_bytes} bytes of {pattern}")
    return path
