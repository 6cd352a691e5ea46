"""Real filesystems and files to fill up, to make read-only, to unplug; only root may, others skip with the reason."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = b"\xa5" * 4096


@contextlib.contextmanager
def tmpfs(folder: Path, *, size_kib: int) -> Iterator[Path]:
    """Mount a small filesystem in memory on `folder` for the length of the block."""
    folder.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", folder)
    try:
        yield folder
    finally:
        unmount(folder)


def mount(*arguments: str | Path) -> None:
    """Mount, or skip the test where this process may not."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine refuses to mount: {done.stderr.strip()}")


def plug_in(folder: Path, mount_point: Path) -> None:
    """Show a folder at a mount point, as a share is mounted."""
    mount("--bind", folder, mount_point)


def unmount(mount_point: Path) -> None:
    """Take a mount away at once, whoever has something open on it, as an unplugged disk goes."""
    subprocess.run(["umount", "--lazy", str(mount_point)], check=True, capture_output=True)


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Forbid every change of a file for the length of the block, or skip the test where that can't be."""
    done = subprocess.run(["chattr", "+i", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file can be made immutable here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


def fill(folder: Path) -> Path:
    """Use up every block of a small filesystem; return the file to remove."""
    path = folder / "somebody-elses-film"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            while os.write(descriptor, PAGE):
                pass
    finally:
        os.close(descriptor)
    return path
