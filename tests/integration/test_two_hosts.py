"""Two services on one spool, each with its own state directory, as two hosts on one share are."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import COMMAND as CESAR_WATCH
from tests.processes import checkpointed_windows, command, drop, environment, sidecar, until

ORDINARY = re.compile(
    r" Spool | model demo |: claimed as job |: attempt 1 begins$|: Transcribed |Another name is used| model runs on "
)
"""What a log may say in which nothing went wrong."""
SLOW = {"CESAR_WATCH_ENGINE__WINDOW_S": "20", "CESAR_WATCH_ENGINE__WORKERS": "1", "CESAR_WATCH_ENGINE__BEAM_SIZE": "20"}
"""So that a recording is still being worked on when the test has looked around."""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool made by the command, in the folder `spool` below the working directory."""
    assert command("init", "spool", cwd=tmp_path).returncode == 0
    return tmp_path / "spool"


def settings_of(spool: Path, host: str) -> dict[str, str]:
    state_dir = str(spool.parent / f"state-{host}")
    return {"CESAR_WATCH_SPOOL__QUIET_S": "0.3", "CESAR_WATCH_SPOOL__STATE_DIR": state_dir}


@contextlib.contextmanager
def host(spool: Path, name: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service of one host, its log in `<name>.log`; killed at the end if it still runs."""
    with (spool.parent / f"{name}.log").open("ab") as log:
        variables = environment(**settings_of(spool, name), **settings)
        process = subprocess.Popen([*CESAR_WATCH, "run"], cwd=spool.parent, env=variables, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def ready(spool: Path, name: str) -> bool:
    path = spool.parent / f"state-{name}" / "service.json"
    return path.exists() and json.loads(path.read_bytes())["phase"] == "ready"


def instance_of(spool: Path, name: str) -> str:
    return (spool.parent / f"state-{name}" / "instance").read_text().strip()


def sidecars(spool: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in (spool / "outbox").glob("*.status.json")]


def log_of(spool: Path, name: str) -> str:
    return (spool.parent / f"{name}.log").read_text()


@pytest.mark.timeout(240)
def test_two_hosts_divide_an_inbox_and_transcribe_each_recording_once_without_a_word_of_trouble(spool: Path) -> None:
    fresh = {"CESAR_WATCH_SPOOL__ON_DUPLICATE": "transcribe"}
    with host(spool, "a", **fresh) as one, host(spool, "b", **fresh) as two:
        until(lambda: ready(spool, "a") and ready(spool, "b"), "both services")
        for number in range(30):
            # Pairs of equal stems, so that names are fought for too.
            drop("numbers.wav", spool / "inbox", f"talk {number // 2}.{'wav' if number % 2 else 'mp3'}")
        until(
            lambda: [told["status"] for told in sidecars(spool)].count("completed") == 30, "thirty transcripts", 120.0
        )
        until(lambda: not list((spool / "processing").glob("*/????????????????")), "the end of all jobs")
        assert one.poll() is None
        assert two.poll() is None

    told = sidecars(spool)
    done = {name: sum(one["instance"] == instance_of(spool, name) for one in told) for name in ("a", "b")}
    assert sum(done.values()) == 30
    assert min(done.values()) >= 1, f"one host did all the work: {done}"
    assert len({one["source"]["name"] for one in told}) == 30
    assert len(list((spool / "archive").iterdir())) == 30
    assert len(list((spool / "outbox").glob("*.txt"))) == 30
    assert list((spool / "inbox").iterdir()) == []
    for name in ("a", "b"):
        assert [line for line in log_of(spool, name).splitlines() if not ORDINARY.search(line)] == []
        verified = command("verify", cwd=spool.parent, **settings_of(spool, name))
        assert verified.returncode == 0, verified.stdout


@pytest.mark.timeout(240)
def test_dead_host_is_taken_over_when_asked_and_not_while_it_lives(spool: Path) -> None:
    windows = SLOW
    reference = spool.parent / "reference"
    reference.mkdir()
    assert command("init", "spool", cwd=reference).returncode == 0
    drop("meeting.m4a", reference / "spool/inbox")
    assert command("drain", cwd=reference, CESAR_WATCH_SPOOL__QUIET_S="0.3", **windows).returncode == 0

    drop("meeting.m4a", spool / "inbox")
    with host(spool, "a", **windows) as dead:
        until(lambda: checkpointed_windows(spool), "the first window")
        left = instance_of(spool, "a")
        alone = command("adopt", left, cwd=spool.parent, **settings_of(spool, "b"))
        assert alone.returncode == 4, alone.stdout
        assert "is alive" in alone.stderr
        dead.kill()
        dead.wait()

    with host(spool, "b", **windows):
        until(lambda: ready(spool, "b"), "the other service")
        told = command("status", cwd=spool.parent, **settings_of(spool, "b"))
        assert f"cesar-watch adopt {left}" in " ".join(told.stdout.split())
        assert f"cesar-watch adopt {left}" in log_of(spool, "b")
        adopted = command("adopt", left[:4], cwd=spool.parent, **settings_of(spool, "b"))
        assert adopted.returncode == 0, adopted.stderr
        assert "Took over 1 recording" in adopted.stdout
        until(lambda: sidecar(spool, "meeting").get("status") == "completed", "the transcript")
    assert sidecar(spool, "meeting")["instance"] == instance_of(spool, "b")
    transcripts = [path for path in (reference / "spool/outbox").iterdir() if not path.name.endswith(".status.json")]
    assert transcripts
    for path in transcripts:
        assert (spool / "outbox" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.timeout(240)
def test_dead_host_is_taken_over_by_the_command_alone_where_no_service_runs(spool: Path) -> None:
    drop("meeting.m4a", spool / "inbox")
    with host(spool, "a", **SLOW):
        until(lambda: checkpointed_windows(spool), "the first window")
    left = instance_of(spool, "a")

    adopted = command("adopt", left, cwd=spool.parent, **settings_of(spool, "b"))
    assert adopted.returncode == 0, adopted.stderr
    assert "Took over 1 recording" in adopted.stdout
    again = command("adopt", left, cwd=spool.parent, **settings_of(spool, "b"))
    assert again.returncode == 0
    assert "has left no recording" in again.stdout
    (job,) = json.loads(command("jobs", "--json", cwd=spool.parent, **settings_of(spool, "b")).stdout)["jobs"]
    assert job["status"] == "pending"


def test_adopt_of_an_instance_that_is_not_there_names_those_that_are(spool: Path) -> None:
    refused = command("adopt", "feedbeef", cwd=spool.parent, **settings_of(spool, "b"))

    assert refused.returncode == 2
    assert "There is no other instance 'feedbeef'" in refused.stderr
