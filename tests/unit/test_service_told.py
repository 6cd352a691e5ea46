"""What a sidecar must say to be believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.job import Failure, State
from cesar_watch.delivery.sidecar import sidecar
from cesar_watch.service.told import read_told
from tests.builders import make_job

JOB = make_job(
    state=State.FAILED,
    subfolder=b"radio/monday",
    source=b"failed/radio/monday/talk.mp3",
    error=Failure("not_media", "It is a text file."),
)
MISSING = object()


def read(outbox: Path, fields: dict[str, Any]) -> Any:
    path = outbox / "radio/monday/talk.mp3-2.status.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not MISSING}))
    return read_told(path, outbox, "host")


def test_own_sidecar_tells_its_job_and_its_place(tmp_path: Path) -> None:
    found = read(tmp_path, sidecar(JOB, instance="host"))

    assert (found.subfolder, found.base) == (b"radio/monday", "talk.mp3-2")
    assert (found.told.job_id, found.told.status) == (JOB.job_id, "failed")
    assert found.told.source.path_bytes == JOB.source
    assert found.told.options == JOB.options
    assert (found.told.error.reason, found.told.created_at) == ("not_media", JOB.created_at)


def test_fields_that_are_not_known_yet_are_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, sidecar(JOB, instance="host") | {"speakers": 3}) is not None


@pytest.mark.parametrize("key", ["instance", "outputs_sha256"])
def test_fields_that_older_versions_did_not_write_may_be_missing(tmp_path: Path, key: str) -> None:
    assert read(tmp_path, sidecar(JOB, instance="host") | {key: MISSING}) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"instance": "other"},
        {"job_id": "../../etc"},
        {"job_id": "0123"},
        {"status": "claiming"},
        {"status": "dreaming"},
        {"attempts": -1},
        {"created_at": "yesterday"},
        {"created_at": "2026-03-01T12:00:00"},
        {"created_at": MISSING},
        {"options": {}},
        {"options": {"engine": {"model": "demo"}, "output": {"formats": ["exe"]}}},
        {"options": {"engine": {}, "output": {"formats": ["txt"]}}},
        {"options": {"engine": {"model": "demo"}, "output": {"formats": ["txt"], "md_template": "{title.upper}"}}},
        {"outputs": "talk.txt"},
        {"outputs": ["a/b"]},
        {"source": None},
    ],
)
def test_sidecar_that_can_not_be_ours_is_not_believed(tmp_path: Path, change: dict[str, Any]) -> None:
    assert read(tmp_path, sidecar(JOB, instance="host") | change) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema": 2, "job_id": "0123456789abcdef"}'])
def test_file_that_is_no_sidecar_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "talk.status.json").write_bytes(content)

    assert read_told(tmp_path / "talk.status.json", tmp_path, "host") is None
