"""The main job in real processes, with the real engine and the bundled model: drop, transcript, message."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import (
    alive,
    checkpointed_windows,
    children,
    command,
    drop,
    expected_words,
    json_endpoint,
    phase,
    service,
    sidecar,
    until,
    word_error_rate,
    words,
)

QUICK = {"CESAR_WATCH_SPOOL__QUIET_S": "0.3"}
SHORT_WINDOWS = {**QUICK, "CESAR_WATCH_ENGINE__WINDOW_S": "30"}
TOLERATED_WER = 0.1


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool made by the command, in the folder `spool` below the working directory."""
    made = command("init", "spool", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    return tmp_path / "spool"


def _add_channel(spool: Path, url: str) -> None:
    with (spool / "config.toml").open("a") as config:
        config.write(f'\n[[notify]]\nurl = "{url}"\n')


def _status_words(spool: Path, base: str, seen: list[str]) -> bool:
    status = sidecar(spool, base).get("status")
    if status and status not in seen:
        seen.append(status)
    return status in ("completed", "failed")


def _heard(spool: Path, base: str) -> list[str]:
    return words((spool / "outbox" / f"{base}.txt").read_text(encoding="utf-8"))


def test_dropped_wav_becomes_a_correct_transcript_and_one_message(spool: Path) -> None:
    with json_endpoint() as (url, messages):
        _add_channel(spool, url)
        with service(spool.parent, **QUICK):
            until(lambda: phase(spool) == "ready", "the service")
            drop("meeting.m4a", spool / "inbox")
            until(lambda: sidecar(spool, "meeting"), "the claim")
            drop("numbers.wav", spool / "inbox")
            seen: list[str] = []
            until(lambda: _status_words(spool, "numbers", seen), "the transcript")
            until(lambda: len(messages) >= 2, "the messages")
    # It is pending for as long as it takes to begin, beside the other: too short to be seen for certain.
    assert seen[-2:] == ["processing", "completed"]
    assert set(seen) <= {"pending", "processing", "completed"}
    assert word_error_rate(_heard(spool, "numbers"), expected_words("numbers.wav")) <= TOLERATED_WER
    assert (spool / "archive/numbers.wav").exists()
    assert list((spool / "inbox").iterdir()) == []
    # The short one did not wait for the long one.
    assert [message["title"] for message in messages] == ["numbers.wav: completed", "meeting.m4a: completed"]


def test_drain_of_two_recordings_and_a_text_file_exits_1_and_tells_all_three(spool: Path) -> None:
    drop("numbers.wav", spool / "inbox")
    drop("letters.mp3", spool / "inbox")
    (spool / "inbox/notes.mp3").write_text("Dear diary, this is no recording.\n" * 20)
    drained = command("drain", cwd=spool.parent, **QUICK)
    assert drained.returncode == 1, drained.stderr
    assert "2 completed, 1 failed" in drained.stdout
    listed = json.loads(command("jobs", "--json", cwd=spool.parent).stdout)
    assert {job["source"]["name"]: job["status"] for job in listed["jobs"]} == {
        "numbers.wav": "completed",
        "letters.mp3": "completed",
        "notes.mp3": "failed",
    }
    reason = (spool / "failed/notes.mp3.reason.txt").read_text()
    assert "reason: not_media" in reason
    assert "not a recording" in reason


def test_drain_without_a_failure_exits_0(spool: Path) -> None:
    drop("shopping.ogg", spool / "inbox")
    assert command("drain", cwd=spool.parent, **QUICK).returncode == 0
    assert word_error_rate(_heard(spool, "shopping"), expected_words("shopping.ogg")) <= TOLERATED_WER


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of the long recording, transcribed in windows of 30 s without any disturbance."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert command("init", "spool", cwd=folder).returncode == 0
    drop("meeting.m4a", folder / "spool/inbox")
    assert command("drain", cwd=folder, **SHORT_WINDOWS).returncode == 0
    return _heard(folder / "spool", "meeting")


def _assert_one_whole_transcript(spool: Path, undisturbed: list[str]) -> None:
    assert word_error_rate(_heard(spool, "meeting"), expected_words("meeting.m4a")) <= TOLERATED_WER
    assert word_error_rate(_heard(spool, "meeting"), undisturbed) <= TOLERATED_WER
    assert [path.name for path in (spool / "outbox").glob("*.txt")] == ["meeting.txt"]
    assert [path.name for path in (spool / "archive").iterdir()] == ["meeting.m4a"]
    assert list((spool / "failed").iterdir()) == []


def test_killed_service_started_again_gives_exactly_one_complete_transcript(
    spool: Path, undisturbed: list[str]
) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        before = until(lambda: checkpointed_windows(spool), "the first window")
        process.kill()
    assert sidecar(spool, "meeting")["status"] == "processing"
    assert checkpointed_windows(spool) >= before
    assert command("drain", cwd=spool.parent, **SHORT_WINDOWS).returncode == 0
    _assert_one_whole_transcript(spool, undisturbed)


def test_sigterm_in_mid_work_exits_in_time_and_goes_on_behind_the_last_window(
    spool: Path, undisturbed: list[str]
) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(spool), "the first window")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert sidecar(spool, "meeting")["status"] == "pending"
    kept = checkpointed_windows(spool)
    assert kept >= 1
    with service(spool.parent, **SHORT_WINDOWS):
        until((spool / "archive/meeting.m4a").exists, "the end of the job")
    _assert_one_whole_transcript(spool, undisturbed)
    shown = json.loads(command("jobs", "--json", cwd=spool.parent).stdout)["jobs"][0]
    history = json.loads(command("show", shown["job_id"][:6], "--json", cwd=spool.parent).stdout)["history"]
    assert [row["event"] for row in history].count("released") == 1


def test_status_during_the_work_tells_percent_and_estimated_completion(spool: Path) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS, CESAR_WATCH_ENGINE__BEAM_SIZE="20", CESAR_WATCH_ENGINE__WORKERS="1"):
        until(lambda: sidecar(spool, "meeting").get("estimated_completion"), "the estimate")
        told = json.loads(command("status", "--json", cwd=spool.parent).stdout)
        words_told = command("status", cwd=spool.parent).stdout
        until(lambda: sidecar(spool, "meeting").get("status") == "completed", "the transcript")
    assert told["running"]
    assert told["phase"] == "ready"
    assert told["current"][0]["progress"] > 0
    assert told["current"][0]["estimated_completion"]
    assert max(map(len, words_told.splitlines())) <= 80


def test_cancel_of_a_running_job_takes_effect_and_keeps_the_recording(spool: Path) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, CESAR_WATCH_ENGINE__WINDOW_S="10", CESAR_WATCH_SPOOL__QUIET_S="0.3"):
        until(lambda: checkpointed_windows(spool), "the first window")
        job = sidecar(spool, "meeting")["job_id"]
        told = command("cancel", job[:5], cwd=spool.parent)
        assert told.returncode == 0, told.stderr
        assert "cancelled" in told.stdout
    assert (spool / "failed/meeting.m4a").exists()
    retried = command("retry", job[:5], cwd=spool.parent)
    assert "pending" in retried.stdout
    assert list((spool / "processing").glob("*/*/meeting.m4a"))


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that hears what a service tells its manager (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        yield listener


def test_service_manager_hears_ready_status_watchdog_and_stopping(spool: Path, service_manager: socket.socket) -> None:
    manager = {"NOTIFY_SOCKET": service_manager.getsockname(), "WATCHDOG_USEC": "600000"}
    heard: list[str] = []

    def hear(wanted: str) -> None:
        while wanted not in heard:
            heard.extend(service_manager.recv(4096).decode().splitlines())

    with service(spool.parent, **QUICK, **manager) as process:
        hear("READY=1")
        hear("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
        assert process.wait(timeout=30) == 0
    assert "STATUS=ready" in heard
    assert heard.index("READY=1") < heard.index("WATCHDOG=1") < heard.index("STOPPING=1")


def test_sighup_takes_good_settings_over_and_refuses_bad_ones(spool: Path) -> None:
    config = spool / "config.toml"
    log = spool.parent / "service.log"
    with service(spool.parent, **QUICK) as process:
        until(lambda: phase(spool) == "ready", "the service")
        good = config.read_text()
        config.write_text(good + "\n[retry]\nmax_attempts = 0\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: "old ones stay" in log.read_text(), "the refusal")
        config.write_text(good + "\n[output]\nformats = ['txt']\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: "read again" in log.read_text(), "the reload")
        drop("numbers.wav", spool / "inbox")
        until(lambda: sidecar(spool, "numbers").get("status") == "completed", "the transcript")
    assert sidecar(spool, "numbers")["outputs"] == ["numbers.txt"]


def test_engine_process_ends_with_a_killed_service(spool: Path) -> None:
    drop("meeting.m4a", spool / "inbox")
    with service(spool.parent, **SHORT_WINDOWS) as process:
        until(lambda: checkpointed_windows(spool), "the first window")
        engines = children(process.pid)
        assert engines
        process.kill()
        process.wait()
        until(lambda: not any(alive(pid) for pid in engines), "the end of the engine process", 10)


def test_demo_shows_the_main_job_and_cleans_up_after_itself(tmp_path: Path) -> None:
    began_s = time.time()
    shown = command("demo", "spool", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr + shown.stdout
    for name in ("numbers.wav", "letters.mp3", "shopping.ogg", "meeting.m4a"):
        assert f"{name}: completed" in shown.stdout
    assert '"status": "completed"' in shown.stdout
    assert not [path for path in Path("/tmp").glob("cesar-watch-demo-*") if path.stat().st_mtime > began_s]
