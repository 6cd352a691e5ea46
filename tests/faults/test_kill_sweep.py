"""Kill the process at every call that changes the disk, before it and after it; start again; look.

A forked child lives one whole life (claim, transcribe, publish, archive) and is ended without any tidying
up at its N-th mutating call; N runs until a child survives. So no failure is a proof for this scenario as
far as our own calls go; those inside SQLite are not counted here, and a power cut is another thing.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cesar_watch.core.durable import Rename, link_noreplace, rename_noreplace
from cesar_watch.core.errors import RecordingError
from cesar_watch.core.job import State
from cesar_watch.core.spool import Spool, create_spool
from tests.fakes import FakeEngine, window
from tests.service_builders import Rig, open_rig

CALLS = ("fsync", "link", "unlink", "rename", "replace", "mkdir", "rmdir")
KILLED = 137
FEWEST_POINTS = 30
"""A sweep with fewer points has lost its grip on the code."""


class End(NamedTuple):
    """A recording, the state it must end in, and the room it must then rest in."""

    name: str
    state: State
    room: str


COMPLETED = End("talk.mp3", State.COMPLETED, "archive")
FAILED = End("bad.mp3", State.FAILED, "failed")


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a sweep syncs thousands of times."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="cesar-sweep-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


class _Executioner:
    """Counts mutating calls and ends the process at one of them."""

    def __init__(self, point: int, moment: str) -> None:
        self._left = point
        self._moment = moment

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            # Kept, since a watched call may be made of watched calls.
            is_hit = self._left == 0
            if is_hit and self._moment == "before":
                os._exit(KILLED)
            try:
                return call(*args, **kwargs)
            finally:
                if is_hit:
                    os._exit(KILLED)

        return watched


def _live(root: Path, executioner: _Executioner, life: Callable[[Rig], None], rename: Rename) -> None:
    """One life in the child: everything counted from the opening of the house on."""
    for name in CALLS:
        setattr(os, name, executioner.watch(getattr(os, name)))
    with open_rig(root, _engine()) as rig:
        spool = rig.house.spool
        rig.house.spool = Spool(spool.root, spool.instance, spool.spool_id, executioner.watch(rename))
        life(rig)


def _engine() -> FakeEngine:
    return FakeEngine(
        {"talk.mp3": [window(0, "hello"), window(1, "world")], "bad.mp3": [RecordingError("No.", reason="not_media")]}
    )


def _killed(
    root: Path, point: int, moment: str, life: Callable[[Rig], None], rename: Rename = rename_noreplace
) -> bool:
    """Live one life in a child; return whether it was killed, as opposed to having reached its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _live(root, _Executioner(point, moment), life, rename)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED), f"the child failed by itself at point {point} ({moment})"
    return status == KILLED


def _whole_life(rig: Rig) -> None:
    rig.claim_all()
    rig.work()


def _fresh_spool(root: Path, name: str) -> None:
    create_spool(root)
    (root / "inbox" / name).write_bytes(b"sound of " + name.encode())


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("end", "rename"), [(COMPLETED, rename_noreplace), (COMPLETED, link_noreplace), (FAILED, rename_noreplace)]
)
@pytest.mark.timeout(120)
def test_kill_at_every_mutating_call_loses_nothing_and_doubles_nothing(
    ram: Path, end: End, rename: Rename, moment: str
) -> None:
    for point in itertools.count(1):
        root = ram / f"point-{point}"
        root.mkdir()
        _fresh_spool(root, end.name)
        was_killed = _killed(root, point, moment, _whole_life, rename)
        _check_recordings(root, end.name)
        with open_rig(root, _engine()) as rig:
            _whole_life(rig)
            _check_end(rig, end)
        shutil.rmtree(root)
        if not was_killed:
            break
    assert point > FEWEST_POINTS


@pytest.mark.timeout(120)
def test_kill_during_the_recovery_from_a_kill_loses_nothing(ram: Path) -> None:
    for first, second in itertools.product(range(4, 60, 5), range(2, 40, 4)):
        root = ram / f"point-{first}-{second}"
        root.mkdir()
        _fresh_spool(root, "talk.mp3")
        _killed(root, first, "after", _whole_life)
        _killed(root, second, "before", _whole_life)
        _check_recordings(root, "talk.mp3")
        with open_rig(root, _engine()) as rig:
            _whole_life(rig)
            _check_end(rig, COMPLETED)
        shutil.rmtree(root)


def _check_recordings(root: Path, name: str) -> None:
    """At any instant: the recording's content is in exactly one place, whole."""
    content = b"sound of " + name.encode()
    rooms = ("inbox", "processing", "archive", "failed")
    found = [path for room in rooms for path in (root / room).rglob("*.mp3") if path.is_file()]
    # Where a filesystem has no better move, a death between link and unlink leaves one file under two names.
    assert len({path.stat().st_ino for path in found}) == 1
    assert {path.read_bytes() for path in found} == {content}
    for path in (root / "outbox").glob("*.txt"):
        assert path.read_text().split() == ["hello", "world"]


def _check_end(rig: Rig, end: End) -> None:
    name, state, room = end
    job = rig.only_job()
    base = name.removesuffix(".mp3")
    assert job.state is state
    assert [queued.notice.event for queued in rig.house.ledger.notices.recent()] == [state.value]
    assert rig.sidecar(base)["status"] == state.value
    assert rig.sidecar(base)["source"]["path"] == f"{room}/{name}"
    beside = (
        [f"outbox/{base}.json", f"outbox/{base}.txt"] if state is State.COMPLETED else [f"failed/{name}.reason.txt"]
    )
    assert rig.files() == sorted([f"{room}/{name}", f"outbox/{base}.status.json", *beside])
    assert list(rig.house.spool.processing.iterdir()) == []
