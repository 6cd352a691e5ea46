"""The inbox is lost while the real service runs on it: unmounted, renamed away, removed, replaced by another one's."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cesar_watch.core.spool import create_spool
from cesar_watch.service.state_file import ServiceState, read_state
from tests.mounting import plug_in, unmount
from tests.processes import command, service, sidecar, until
from tests.watched import SETTINGS, wav


@dataclass
class Loss:
    """How the inbox is lost, and how it comes back."""

    root: Path
    state: Path
    lose: Callable[[], object]
    find: Callable[[], object]


Maker = Callable[[Path], contextlib.AbstractContextManager[Loss]]


@contextlib.contextmanager
def _marker_gone(folder: Path) -> Iterator[Loss]:
    marker, aside = folder / "spool/.cesar-watch", folder / "marker"
    yield Loss(folder / "spool", folder / "spool/.state", lambda: marker.rename(aside), lambda: aside.rename(marker))


@contextlib.contextmanager
def _inbox_renamed_away(folder: Path) -> Iterator[Loss]:
    inbox, aside = folder / "spool/inbox", folder / "aside"
    yield Loss(folder / "spool", folder / "spool/.state", lambda: inbox.rename(aside), lambda: aside.rename(inbox))


@contextlib.contextmanager
def _inbox_removed_and_made_again(folder: Path) -> Iterator[Loss]:
    inbox = folder / "spool/inbox"
    yield Loss(folder / "spool", folder / "spool/.state", lambda: shutil.rmtree(inbox), inbox.mkdir)


@contextlib.contextmanager
def _share(folder: Path) -> Iterator[Path]:
    """A spool that is mounted at `folder/spool`, as a share is."""
    share, mount_point = folder / "share", folder / "spool"
    share.mkdir()
    mount_point.mkdir()
    plug_in(share, mount_point)
    try:
        yield mount_point
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            while True:
                unmount(mount_point)


@contextlib.contextmanager
def _unplugged(folder: Path) -> Iterator[Loss]:
    with _share(folder) as mount_point:

        def find() -> None:
            assert list(mount_point.iterdir()) == []  # nothing was written to the disk below
            plug_in(folder / "share", mount_point)

        yield Loss(mount_point, folder / "state", lambda: unmount(mount_point), find)
        unmount(mount_point)
        assert list(mount_point.iterdir()) == []


@contextlib.contextmanager
def _unplugged_and_used(folder: Path) -> Iterator[Loss]:
    """Somebody copies a recording into what looks like the inbox while the share is away."""
    with _share(folder) as mount_point:

        def lose() -> None:
            unmount(mount_point)
            (mount_point / "inbox").mkdir()
            _drop(mount_point / "inbox/below.wav", wav(3))

        def find() -> None:
            assert [path.name for path in mount_point.rglob("*")] == ["inbox", "below.wav"]
            plug_in(folder / "share", mount_point)

        yield Loss(mount_point, folder / "state", lose, find)


@contextlib.contextmanager
def _covered_by_another_spool(folder: Path) -> Iterator[Loss]:
    """The wrong share is mounted in the right place."""
    other = folder / "other"
    create_spool(other)
    with _share(folder) as mount_point:

        def lose() -> None:
            plug_in(other, mount_point)
            _drop(mount_point / "inbox/theirs.wav", wav(3))

        def find() -> None:
            assert (other / "inbox/theirs.wav").exists()
            assert list((other / "outbox").iterdir()) == []
            unmount(mount_point)

        yield Loss(mount_point, folder / "state", lose, find)


@pytest.mark.parametrize(
    "make",
    [
        _marker_gone,
        _inbox_renamed_away,
        _inbox_removed_and_made_again,
        _unplugged,
        _unplugged_and_used,
        _covered_by_another_spool,
    ],
    ids=lambda make: make.__name__.strip("_"),
)
def test_service_whose_inbox_is_lost_pauses_once_writes_nothing_and_goes_on_by_itself(
    tmp_path: Path, make: Maker
) -> None:
    with make(tmp_path) as loss:
        assert command("init", "spool", cwd=tmp_path).returncode == 0
        settings = SETTINGS | {"CESAR_WATCH_SPOOL__RESCAN_S": "0.5"}
        with service(tmp_path, "--config", str(_config(tmp_path, loss)), **settings) as process:
            until(lambda: _account(loss).phase == "ready", "the service")
            _drop(loss.root / "inbox/before.wav", wav(1))
            until(lambda: sidecar(loss.root, "before").get("status") == "completed", "the first transcript")
            loss.lose()
            until(lambda: _account(loss).phase == "paused", "the pause")
            shown = command("status", "--config", tmp_path / "config.toml", cwd=tmp_path)
            assert (shown.returncode, shown.stderr.count("\n")) == (3, 1)
            assert "mount the" in _account(loss).message
            loss.find()
            _drop(loss.root / "inbox/behind.wav", wav(2))
            until(lambda: sidecar(loss.root, "behind").get("status") == "completed", "the second transcript")
            process.terminate()
            assert process.wait(50) == 0
        log = (tmp_path / "service.log").read_text()
        paused = re.findall(r"(\w+) pauses: ", log)
        assert paused
        assert len(paused) == len(set(paused))  # each of the actors says it once
        assert "Traceback" not in log


def _drop(path: Path, content: bytes) -> None:
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(content)
    hidden.rename(path)


def _config(folder: Path, loss: Loss) -> Path:
    path = folder / "config.toml"
    path.write_text(f'[spool]\nroot = "{loss.root}"\nstate_dir = "{loss.state}"\n')
    return path


def _account(loss: Loss) -> ServiceState:
    """Return what the service says of itself."""
    account: ServiceState = until(lambda: read_state(loss.state), "the service's account")
    return account
