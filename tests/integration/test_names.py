"""Recordings of any name, all at once: each is transcribed under a name of its own, and keeps the one it came with."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cesar_watch.core.job import State
from cesar_watch.delivery.names import base_key
from cesar_watch.delivery.reason_file import reason_path
from cesar_watch.verify.examine import Examination
from tests.fakes import FakeEngine
from tests.names import LIMIT_BYTES, STEMS, names
from tests.service_builders import Rig, open_rig

PLAIN: dict[str, list[str]] = {"ignore": []}
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
