"""Signals at every stage of the service's life, sent to the real command; the engine is the real one.

Moments are reached by what can be seen from outside: the signals that a process holds, the phase it tells, the
windows it has made durable. Random moments are the fault harness's affair.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from cesar_watch.service.signals import Signals
from tests.processes import (
    alive,
    checkpointed_windows,
    children,
    command,
    drop,
    environment,
    phase,
    run_state,
    service,
    sidecar,
    until,
)

QUICK = {"CESAR_WATCH_SPOOL__QUIET_S": "0.3"}
SHORT_WINDOWS = {**QUICK, "CESAR_WATCH_ENGINE__WINDOW_S": "30"}
STOPS = [signal.SIGTERM, signal.SIGINT]
GRACE_S = 30.0
"""A graceful stop has ended by then."""

stops = pytest.mark.parametrize("stop", STOPS, ids=lambda number: signal.Signals(number).name)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool made by the command, in the folder `spool` below the working directory."""
    made = command("init", "spool", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    return tmp_path / "spool"


def _log(spool: Path) -> str:
    return (spool.parent / "service.log").read_text()


def _job(spool: Path) -> dict[str, Any]:
    """Return what `show` tells of the only job."""
    (job,) = json.loads(command("jobs", "--json", cwd=spool.parent).stdout)["jobs"]
    shown: dict[str, Any] = json.loads(command("show", job["job_id"], "--json", cwd=spool.parent).stdout)
    return shown


# --- start-up -----------------------------------------------------------------------------

SENDER = """
import os, runpy, signal, sys
module, number = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background inherits that it is ignored

class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Sender())
sys.argv[1:] = sys.argv[3:]
runpy.run_module("cesar_watch", run_name="__main__")
"""
in_imports = pytest.mark.parametrize("module", ["typer", "cesar_watch.cli.run", "cesar_watch.service.supervisor"])


@contextlib.contextmanager
def _signalled(spool: Path, module: str, number: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command, which gets a signal just when it imports a module."""
    with (spool.parent / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SENDER, module, str(number), *arguments],
            cwd=spool.parent,
            env=environment(**QUICK),
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@stops
@in_imports
def test_stop_in_the_imports_ends_the_service_without_a_word(spool: Path, module: str, stop: int) -> None:
    with _signalled(spool, module, stop, "run") as process:
        assert process.wait(GRACE_S) == 0
    assert _log(spool) == ""
    assert not (spool / ".state").exists()


@in_imports
def test_hangup_in_the_imports_waits_until_the_settings_can_be_read_again(spool: Path, module: str) -> None:
    with _signalled(spool, module, signal.SIGHUP, "run") as process:
        until(lambda: "settings were read again" in _log(spool), "the reload")
        assert phase(spool, process.pid) == "ready"


@pytest.mark.parametrize("module", ["typer", "cesar_watch.cli.jobs"])
def test_ctrl_c_in_the_imports_of_any_other_command_shows_no_traceback(spool: Path, module: str) -> None:
    with _signalled(spool, module, signal.SIGINT, "jobs") as process:
        assert process.wait(GRACE_S) == 128 + signal.SIGINT
    assert _log(spool) == ""


@contextlib.contextmanager
def _in_recovery(spool: Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], object]]]:
    """A service that stands in its recovery: it has something to write, and another holds the ledger until told."""
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(spool), "the first window")
        process.kill()
    with contextlib.closing(apsw.Connection(str(spool / ".state/ledger.db"))) as other:
        other.execute("BEGIN IMMEDIATE")
        with service(spool.parent, **SHORT_WINDOWS) as process:
            until(lambda: phase(spool, process.pid) == "starting", "the recovery")
            yield process, lambda: other.execute("ROLLBACK")


@stops
def test_stop_in_the_recovery_ends_the_service_and_leaves_the_rest_to_the_next_start(spool: Path, stop: int) -> None:
    with _in_recovery(spool) as (process, release):
        process.send_signal(stop)
        release()
        assert process.wait(GRACE_S) == 0
    assert phase(spool, process.pid) == "starting"
    assert "Traceback" not in _log(spool)
    job = _job(spool)
    assert (job["status"], job["attempts"], job["interruptions"]) == ("processing", 1, 0)


SIGNAL_BEHIND_A_COMMIT = """
import os, sys
import peewee
from cesar_watch.cli.main import main

number = int(sys.argv.pop(1))
real = peewee.Database.pop_transaction

def pop_transaction(self):
    peewee.Database.pop_transaction = real
    os.kill(os.getpid(), number)
    return real(self)

peewee.Database.pop_transaction = pop_transaction
main()
"""


@pytest.mark.parametrize(
    ("words", "number", "code"),
    [
        (["run"], signal.SIGTERM, 0),
        (["drain"], signal.SIGINT, 0),
        (["ledger", "rebuild", "--yes"], signal.SIGINT, 128 + signal.SIGINT),
        (["ledger", "rebuild", "--yes"], signal.SIGTERM, 128 + signal.SIGTERM),
    ],
)
def test_signal_that_comes_while_a_library_tidies_up_behind_a_commit_is_not_told_as_a_broken_ledger(
    spool: Path, words: list[str], number: int, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_BEHIND_A_COMMIT, str(int(number)), *words, "--config", "spool/config.toml"],
        cwd=spool.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=GRACE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "can't be used" not in done.stderr
    assert "Traceback" not in done.stderr


def test_hangup_in_the_recovery_lets_the_service_start_and_read_its_settings_again(spool: Path) -> None:
    with _in_recovery(spool) as (process, release):
        process.send_signal(signal.SIGHUP)
        release()
        until(lambda: "settings were read again" in _log(spool), "the reload")
        assert phase(spool, process.pid) == "ready"


# --- idle, paused, at work ----------------------------------------------------------------


@stops
def test_stop_of_an_idle_service_is_graceful(spool: Path, stop: int) -> None:
    with service(spool.parent, **QUICK) as process:
        until(lambda: phase(spool) == "ready", "the service")
        process.send_signal(stop)
        assert process.wait(GRACE_S) == 0
    assert phase(spool) == "stopped"
    assert "Traceback" not in _log(spool)


@stops
def test_stop_of_a_paused_service_is_graceful(spool: Path, stop: int) -> None:
    with service(spool.parent, **QUICK) as process:
        until(lambda: phase(spool) == "ready", "the service")
        (spool / ".cesar-watch").rename(spool / "marker")
        until(lambda: phase(spool) == "paused", "the pause")
        process.send_signal(stop)
        assert process.wait(GRACE_S) == 0
    assert phase(spool) == "stopped"


@stops
def test_stop_in_the_middle_of_a_window_hands_the_attempt_back(spool: Path, stop: int) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(spool), "the first window")
        engines = children(process.pid)
        process.send_signal(stop)
        assert process.wait(GRACE_S) == 0
        assert not any(alive(pid) for pid in engines)
    job = _job(spool)
    assert (job["status"], job["attempts"], job["interruptions"]) == ("pending", 0, 0)
    assert [row["event"] for row in job["history"]] == ["claimed", "leased", "released"]


def test_service_killed_in_the_middle_of_a_window_gets_the_attempt_back_when_it_starts_again(spool: Path) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(spool), "the first window")
        process.kill()
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: phase(spool, process.pid) == "ready", "the recovery")
    history = _job(spool)["history"]
    assert [(row["event"], row["reason"], row["attempt"]) for row in history[1:3]] == [
        ("leased", None, 1),
        ("released", "recovered", 0),
    ]


# --- shutting down ------------------------------------------------------------------------


@contextlib.contextmanager
def _stopping(spool: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A service that has been asked to stop and waits for its engine, which another has stopped by SIGSTOP."""
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(spool), "the first window")
        (engine,) = children(process.pid)
        os.kill(engine, signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGTERM)
            until(lambda: phase(spool, process.pid) == "stopping", "the stop")
            yield process, engine
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine, signal.SIGKILL)


def test_engine_that_does_not_answer_a_stop_is_killed_and_the_attempt_handed_back(spool: Path) -> None:
    with _stopping(spool) as (process, engine):
        assert process.wait(GRACE_S) == 0
        assert not alive(engine)
    job = _job(spool)
    assert (job["status"], job["attempts"], job["interruptions"]) == ("pending", 0, 0)


def test_hangup_while_the_service_stops_changes_nothing(spool: Path) -> None:
    with _stopping(spool) as (process, engine):
        process.send_signal(signal.SIGHUP)
        os.kill(engine, signal.SIGCONT)
        assert process.wait(GRACE_S) == 0


@stops
def test_second_stop_ends_the_service_at_once_and_its_engine_with_it(spool: Path, stop: int) -> None:
    with _stopping(spool) as (process, engine):
        process.send_signal(stop)
        assert process.wait(5) == 128 + stop
        os.kill(engine, signal.SIGCONT)
        # Nobody is left to work for: its standard input has ended.
        until(lambda: not alive(engine), "the end of the engine process", 10)
    assert _job(spool)["status"] == "processing"


def test_first_stop_of_a_drain_that_is_ending_is_graceful(spool: Path) -> None:
    signals = Signals()
    signals.serving = True
    signals.stop.since_s = 1.0
    before = [signal.getsignal(number) for number in (*STOPS, signal.SIGHUP)]
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, handler in zip((*STOPS, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)
    assert signals.stop.since_s == 1.0


# --- stopped and continued ----------------------------------------------------------------


@pytest.mark.parametrize("who", ["service", "engine", "both"])
def test_processes_stopped_and_continued_finish_what_they_were_at(spool: Path, who: str) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(spool), "the first window")
        engines = children(process.pid)
        pids = {"service": [process.pid], "engine": engines, "both": [process.pid, *engines]}[who]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                os.kill(pid, number)
            if number == signal.SIGSTOP:
                until(lambda: all(run_state(pid) == "T" for pid in pids), "the stop")
        until(lambda: sidecar(spool, "meeting").get("status") == "completed", "the transcript")
        assert children(process.pid) == engines
    job = _job(spool)
    assert (job["attempts"], job["interruptions"]) == (1, 0)
    assert [row["event"] for row in job["history"]] == ["claimed", "leased", "transcribed", "published"]
