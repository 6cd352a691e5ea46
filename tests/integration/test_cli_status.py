"""`status` in bad times: a full, read-only or vanished disk; always a sentence, never a traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeEngine
from tests.mounting import fill, mount, tmpfs
from tests.processes import RECORDINGS, command, drop, service, sidecar, until
from tests.service_builders import open_rig

SETTINGS = {
    "CESAR_WATCH_SPOOL__QUIET_S": "0.2",
    "CESAR_WATCH_ENGINE__MODEL": "demo",
    "CESAR_WATCH_OUTPUT__FORMATS": '["txt"]',
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", size_kib=70 << 10) as folder:
        yield folder


def _ran_once(root: Path) -> None:
    command("init", root, cwd=root.parent)
    with open_rig(root, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()


def _status(spool: Path, *options: str) -> str:
    done = command("status", "--config", spool / "config.toml", *options, cwd=spool.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


@pytest.mark.timeout(120)
def test_service_on_a_full_disk_tells_since_when_it_pauses_and_why_and_goes_on_by_itself(disk: Path) -> None:
    spool = disk / "spool"
    command("init", spool, cwd=disk)
    with service(disk.parent, "--config", str(spool / "config.toml"), **SETTINGS):
        until((spool / ".state/ballast").exists, "the ballast")
        drop("numbers.wav", spool / "inbox", ".numbers.wav")
        film = fill(disk)
        (spool / "inbox/.numbers.wav").rename(spool / "inbox/numbers.wav")
        told = json.loads(until(lambda: _paused(spool), "the pause"))
        assert (told["reason"], told["running"]) == ("disk_full", True)
        assert told["since_at"].endswith("Z")
        assert "free" in told["message"]
        shown = _status(spool)
        assert re.match(r"Service paused (just now|.* ago) \(process \d+\): ", shown)
        film.unlink()
        until(lambda: sidecar(spool, "numbers").get("status") == "completed", "the transcript")
        until(lambda: json.loads(_status(spool, "--json"))["phase"] == "ready", "the end of the pause")
        assert (spool / ".state/ballast").exists()


def _paused(spool: Path) -> str | None:
    told = _status(spool, "--json")
    return told if json.loads(told)["phase"] == "paused" else None


def test_status_on_a_full_disk_says_so(disk: Path) -> None:
    _ran_once(disk / "spool")
    fill(disk)
    assert "is full: free some space" in _status(disk / "spool")
    assert json.loads(_status(disk / "spool", "--json"))["jobs"]["completed"] == 1


def test_status_on_a_read_only_disk_says_so(disk: Path) -> None:
    _ran_once(disk / "spool")
    mount("-o", "remount,ro", disk)
    assert "is read-only: remount it writable" in _status(disk / "spool")
    assert json.loads(_status(disk / "spool", "--json"))["jobs"]["completed"] == 1


@pytest.mark.timeout(120)
def test_status_counts_what_waits_in_the_inbox_by_reason(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    command("init", spool, cwd=tmp_path)
    half = (RECORDINGS / "numbers.wav").read_bytes()[:99_999]
    (spool / "inbox/half.wav").write_bytes(half)
    (spool / "inbox/empty.wav").touch()
    with (
        (spool / "inbox/open.wav").open("wb") as stream,
        service(tmp_path, "--config", str(spool / "config.toml"), **SETTINGS),
    ):
        stream.write(half)
        stream.flush()
        until((spool / ".state/ballast").exists, "the start")
        parked = {"being_written": 1, "empty": 1, "short": 1}
        until(lambda: json.loads(_status(spool, "--json"))["inbox"]["parked"] == parked, "the reasons")
        shown = _status(spool)
        assert "0 recordings waiting to settle, 3 put off (1 being written, 1 empty, 1 short)" in shown
    stopped = json.loads(_status(spool, "--json"))["inbox"]
    assert (stopped["waiting"], stopped["parked"]) == (3, {})


def test_status_counts_what_is_left_alone_by_reason(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    command("init", spool, cwd=tmp_path)
    assert command("drain", "--config", spool / "config.toml", cwd=tmp_path).returncode == 0
    for number in range(12):
        (spool / f"inbox/.talk{number}.mp3.Xa3f9Q").touch()
    (spool / "inbox/notes.txt").touch()
    (spool / "inbox/radio").mkdir()
    (spool / "inbox/link.mp3").symlink_to("notes.txt")
    ignored = json.loads(_status(spool, "--json"))["inbox"]["ignored"]
    assert ignored == {"ignored_name": 12, "in_subfolder": 1, "not_a_file": 1, "not_media": 1}
    shown = " ".join(_status(spool).split())
    assert "left alone: 12 ignored name, 1 not a file, 1 not media, 1 in subfolder" in shown


def test_status_of_a_vanished_spool_is_one_sentence(tmp_path: Path) -> None:
    _ran_once(tmp_path / "spool")
    config = tmp_path / "config.toml"
    config.write_text(f'[spool]\nroot = "{tmp_path}/spool"\n')
    for gone in ("spool/.cesar-watch", "spool/inbox", "spool"):
        (tmp_path / gone).rename(tmp_path / "away")
        done = command("status", "--config", config, cwd=tmp_path)
        (tmp_path / "away").rename(tmp_path / gone)
        assert done.returncode == 3
        assert done.stderr.startswith("cesar-watch: ")
        assert done.stderr.count("\n") == 1
        assert "mount the share" in done.stderr
