"""Recordings of any name, all at once: each is transcribed under a name of its own, and keeps the one it came with."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cesar_watch.core.durable import rename_noreplace
from cesar_watch.core.job import State
from cesar_watch.delivery.names import base_key
from cesar_watch.delivery.reason_file import reason_path
from cesar_watch.verify.examine import Examination
from tests.fakes import FakeEngine
from tests.names import LIMIT_BYTES, STEMS, names
from tests.service_builders import Rig, open_rig

PLAIN: dict[str, list[str]] = {"ignore": ["!*"]}
SHARED_MEMORY = Path("/dev/shm")
ALL_STEMS = [stem[:251] + b".mp3" for stem in STEMS]


def run(root: Path, dropped: list[bytes]) -> None:
    """Drop all at once, let them be transcribed, and see what came of it."""
    with open_rig(root, FakeEngine(), spool=PLAIN) as rig:
        for name in dropped:
            rig.drop(os.fsdecode(name))
        rig.claim_all()
        rig.work()
        see_outputs(rig, dropped)
    report = Examination(root, root / ".state", lambda: False, wait=lambda seconds: None).run()
    assert report.findings == []


def see_outputs(rig: Rig, dropped: list[bytes]) -> None:
    spool = rig.house.spool
    jobs = rig.house.ledger.jobs()
    assert {job.name: job.state for job in jobs} == dict.fromkeys(dropped, State.COMPLETED)
    assert sorted(os.listdir(os.fsencode(spool.root / "archive"))) == sorted(dropped)
    outputs = os.listdir(spool.outbox)
    assert len({base_key(name) for name in outputs}) == len(outputs) == 3 * len(dropped)
    for name in outputs:
        assert len(name.encode()) <= LIMIT_BYTES
        assert name == unicodedata.normalize("NFC", name)
    for job in jobs:
        source = json.loads((spool.outbox / f"{job.base}.status.json").read_bytes())["source"]
        told = base64.b64decode(source["name_b64"]) if "name_b64" in source else source["name"].encode()
        assert told == job.name


@settings(max_examples=15)
@given(dropped=st.lists(names(endings=(b".mp3", b".wav", b".Mp3")), min_size=1, max_size=8, unique=True))
@example(dropped=ALL_STEMS)
def test_recordings_of_any_names_are_each_transcribed_under_a_name_of_their_own(dropped: list[bytes]) -> None:
    dropped = [name for name in dropped if os.path.splitext(name)[1] and not name.startswith(b".cesar-")]
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        run(Path(folder), dropped)


@settings(max_examples=200)
@given(one=names(), other=names())
def test_reasons_of_any_two_names_lie_under_two_names_within_the_limit(one: bytes, other: bytes) -> None:
    paths = {os.fsencode(reason_path(Path("/failed") / os.fsdecode(name)).name) for name in (one, other)}

    assert len(paths) == len({one, other})
    assert all(len(path) <= LIMIT_BYTES for path in paths)


def deep_folder(inbox: Path, depth: int) -> None:
    """Make folders so deep that no path leads to the recording in the last one."""
    descriptor = os.open(inbox, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 250, dir_fd=descriptor)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("talk.mp3", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)


@pytest.mark.parametrize("depth", [13, 14, 15, 16, 20])
def test_folders_deeper_than_any_path_stop_nobody(tmp_path: Path, depth: int) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"recursive": True}) as rig:
        rig.drop("plain.mp3")
        rig.drop("folder/talk.mp3")
        deep_folder(rig.house.spool.inbox, depth)
        rig.claim_all()
        rig.work()
        names = [job.display_name for job in rig.house.ledger.jobs([State.COMPLETED])]
        assert names == ["talk.mp3", "plain.mp3"]
    report = Examination(tmp_path, tmp_path / ".state", lambda: False, wait=lambda seconds: None).run()
    assert {finding.code for finding in report.findings} <= {"unreadable"}


def test_recording_whose_name_is_too_long_for_the_spool_waits_and_stops_nobody(tmp_path: Path) -> None:
    """A library on another filesystem than the spool's, whose names are shorter."""

    def rename(source: Path, target: Path) -> None:
        if len(os.fsencode(target.name)) > 143:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(target))
        rename_noreplace(source, target)

    library = tmp_path / "library"
    library.mkdir()
    for name in ("a" * 200 + ".mp3", "talk.mp3"):
        (library / name).write_bytes(name.encode())
    with open_rig(tmp_path / "spool", FakeEngine(), spool={"claim": "copy", "inbox": library}) as rig:
        rig.house.spool = dataclasses.replace(rig.house.spool, rename=rename)
        rig.claim_all()
        rig.work()
        assert [job.display_name for job in rig.house.ledger.jobs()] == ["talk.mp3"]
        assert rig.intake.parked == {"name_too_long": 1}
