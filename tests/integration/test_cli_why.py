"""`cesar-watch why`: every path has an answer, and every option a source."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import RecordingError
from tests.fakes import FakeEngine
from tests.processes import command, environment
from tests.service_builders import open_rig
from tests.sounds import voice, write_wav

CONFIG = """\
[spool]
root = "."
recursive = true
watch_mode = "poll"
ignore = ["drafts/", "!.voice*"]
[engine]
beam_size = 3
[output]
formats = ["txt", "json"]
[[profile]]
match = "interviews/*"
task = "translate"
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool with a job that completed, one that failed, and an inbox with a bit of everything."""
    root = tmp_path / "spool"
    engine = FakeEngine({"bad.mp3": [RecordingError("It is no recording.", reason="not_media")]})
    with open_rig(root, engine, spool={"recursive": True}) as rig:
        rig.drop("done.mp3")
        rig.drop("done.mp3.toml", b'language = "de"\n')
        rig.drop("bad.mp3")
        rig.claim_all()
        rig.work()
    (root / "config.toml").write_text(CONFIG)
    return root


def put(path: Path, content: str = "sound") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def ask(spool: Path, path: str | Path, **settings: str) -> dict[str, Any]:
    done = command("why", "--json", "--config", spool / "config.toml", path, cwd=spool.parent, **settings)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("name", "verdict", "reason", "words"),
    [
        ("talk.mp3", "waiting", "settling", "has not changed for 5 s"),
        ("~talk.mp3", "waiting", "suspect_name", "600 s"),
        ("talk.mp3.crdownload", "ignored", "ignored_name", "'*.crdownload', an unfinished download of Chrome"),
        (".voice.mp3", "waiting", "settling", "5 s"),
        (".hidden.mp3", "ignored", "ignored_name", "'.*'"),
        (
            "drafts/talk.mp3",
            "ignored",
            "ignored_name",
            "for its folder drafts, its name fits 'drafts/' in spool.ignore",
        ),
        ("notes.txt", "ignored", "not_media", "spool.extensions"),
        (".cesar-1.mp3", "ignored", "our_own", "cesar-watch's own"),
        ("orphan.mp3.toml", "settings", "settings_file", "came too late"),
        ("a/b/talk.mp3", "waiting", "settling", "5 s"),
    ],
)
def test_file_in_the_inbox_is_told_its_rule(spool: Path, name: str, verdict: str, reason: str, words: str) -> None:
    content = 'language = "de"' if name.endswith(".toml") else "sound"
    answer = ask(spool, put(spool / "inbox" / name, content))

    assert (answer["verdict"], answer["reason"]) == (verdict, reason)
    assert words in answer["message"]


def test_things_that_are_no_recordings_are_told_without_being_opened(spool: Path) -> None:
    inbox = spool / "inbox"
    os.mkfifo(inbox / "pipe.mp3")
    (inbox / "link.mp3").symlink_to("/etc/passwd")
    (inbox / "away.mp3").symlink_to("/etc")
    (inbox / "empty.mp3").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(inbox / "s.mp3"))

    assert ask(spool, inbox / "pipe.mp3")["reason"] == "not_a_file"
    assert "symbolic link" in ask(spool, inbox / "link.mp3")["message"]
    assert "socket" in ask(spool, inbox / "s.mp3")["message"]
    assert ask(spool, inbox / "away.mp3")["reason"] == "not_a_file"
    assert ask(spool, inbox / "empty.mp3")["reason"] == "empty"


def test_waiting_recording_is_told_what_its_content_and_its_writer_prove(spool: Path) -> None:
    path = write_wav(spool / "inbox/talk.wav", voice(1.0))
    assert "has not changed for 0.2 s" in ask(spool, path)["message"]

    with path.open("r+b") as writer:
        answer = ask(spool, path)
        assert (answer["verdict"], answer["reason"]) == ("waiting", "being_written")
        writer.truncate(4000)
    answer = ask(spool, path)
    assert (answer["verdict"], answer["reason"]) == ("waiting", "short")
    assert "300 s" in answer["message"]


def test_waiting_recording_is_told_its_options_and_where_each_came_from(spool: Path) -> None:
    put(spool / "inbox/interviews/.cesar.toml", 'language = "de"\nhotwords = "Babbage"\n')
    put(spool / "inbox/interviews/talk.mp3.toml", 'language = "cs"\n')
    path = put(spool / "inbox/interviews/talk.mp3")
    options = ask(spool, path, CESAR_WATCH_ENGINE__WINDOW_S="60")["options"]

    assert {
        key: (options[key]["value"], options[key]["from"])
        for key in ("language", "hotwords", "task", "beam_size", "window_s", "model", "formats")
    } == {
        "language": ("cs", "talk.mp3.toml"),
        "hotwords": ("Babbage", "inbox/interviews/.cesar.toml"),
        "task": ("translate", "profile interviews/*"),
        "beam_size": (3, "config.toml"),
        "window_s": (60.0, "environment"),
        "model": ("demo", "default"),
        "formats": (["txt", "json"], "config.toml"),
    }


def test_wrong_settings_are_told_before_anything_is_taken(spool: Path) -> None:
    path = put(spool / "inbox/talk.mp3")
    file = put(spool / "inbox/talk.mp3.toml", "beam = 3\n")

    for asked in (path, file):
        answer = ask(spool, asked)
        assert answer["reason"] == "bad_override"
        assert "talk.mp3.toml, line 1, column 1: beam: is not" in answer["message"]


@pytest.mark.parametrize(
    "path",
    [
        "inbox/done.mp3",
        "archive/done.mp3",
        "archive/done.mp3.toml",
        "outbox/done.txt",
        "outbox/done.status.json",
        "spool/inbox/done.mp3",
        "done.mp3",
    ],
)
def test_path_of_a_finished_recording_leads_to_its_job(spool: Path, path: str) -> None:
    answer = ask(spool, path if path.startswith(("spool", "done")) else spool / path)

    assert (answer["verdict"], answer["reason"]) == ("job", "completed")
    assert [job["status"] for job in answer["jobs"]] == ["completed"]
    assert answer["options"]["language"] == {"value": "de", "from": "done.mp3.toml"}


@pytest.mark.parametrize("path", ["inbox/bad.mp3", "failed/bad.mp3", "failed/bad.mp3.reason.txt"])
def test_path_of_a_failed_recording_tells_why_it_failed(spool: Path, path: str) -> None:
    answer = ask(spool, spool / path)

    assert (answer["verdict"], answer["reason"]) == ("job", "not_media")
    assert "It is no recording." in answer["message"]


def test_recording_dropped_again_waits_and_names_the_earlier_job(spool: Path) -> None:
    answer = ask(spool, put(spool / "inbox/done.mp3"))

    assert answer["verdict"] == "waiting"
    assert [job["status"] for job in answer["jobs"]] == ["completed"]
    assert "not running" in answer["service"]


def test_paths_that_nothing_is_known_of_have_an_answer_too(spool: Path, tmp_path: Path) -> None:
    assert ask(spool, "/etc/passwd")["verdict"] == "outside"
    assert ask(spool, "no-such.mp3")["verdict"] == "missing"
    assert ask(spool, put(spool / "outbox/mine.txt"))["reason"] == "not_in_inbox"
    assert ask(spool, spool / "inbox")["reason"] == "inbox"
    assert ask(spool, spool)["reason"] == "not_in_inbox"
    (tmp_path / "linked").symlink_to(spool)
    assert ask(spool, tmp_path / "linked/inbox/done.mp3")["verdict"] == "job"


def test_names_that_are_no_text_are_told(spool: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.mp3")
    put(spool / "inbox" / f"{name}.toml", 'language = "fr"')
    assert ask(spool, put(spool / "inbox" / name))["options"]["language"]["value"] == "fr"
    shown = command("why", "--config", spool / "config.toml", spool / "inbox" / name, cwd=spool)
    assert shown.returncode == 0


def test_spool_on_which_nothing_ran_is_asked_without_making_anything(tmp_path: Path) -> None:
    assert command("init", "spool", cwd=tmp_path).returncode == 0
    put(tmp_path / "spool/inbox/talk.mp3")
    before = sorted(tmp_path.rglob("*"))
    shown = command("why", "talk.mp3", cwd=tmp_path)

    assert shown.returncode == 0
    assert "has not changed for 5 s" in shown.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_answer_fits_80_columns(spool: Path) -> None:
    put(spool / "inbox/interviews/.cesar.toml", f'initial_prompt = "{"words " * 40}"\n')
    path = put(spool / "inbox/interviews" / ("long name " * 12 + ".mp3"))
    for asked in (path, spool / "archive/done.mp3", spool / "failed/bad.mp3"):
        shown = command("why", "--config", spool / "config.toml", asked, cwd=spool)
        assert shown.returncode == 0
        assert max(map(len, shown.stdout.splitlines())) <= 80


def test_list_of_ignored_names_has_the_users_and_the_built_in(spool: Path) -> None:
    shown = command("config", "ignored", "--config", spool / "config.toml", cwd=spool)
    entries = json.loads(command("config", "ignored", "--json", "--config", spool / "config.toml", cwd=spool).stdout)

    assert shown.returncode == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert {"glob": "drafts/", "from": "spool.ignore"} in entries
    assert any(entry["glob"] == "*.crdownload" and "Chrome" in entry["from"] for entry in entries)


def test_why_loads_nothing_heavy(spool: Path) -> None:
    code = (
        "import sys; sys.argv = ['cesar-watch', 'why', 'done.mp3']\n"
        "from cesar_watch.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'faster_whisper', 'ctranslate2', 'onnxruntime', 'av', 'apprise', 'numpy', 'watchdog'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=spool, env=environment(), capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_marker_mode_is_told_for_recordings_and_for_markers(spool: Path) -> None:
    marked = {"CESAR_WATCH_SPOOL__READY_MARKER": ".ok"}
    inbox = spool / "inbox"
    talk, marker = put(inbox / "talk.mp3"), inbox / "talk.mp3.ok"
    answer = ask(spool, talk, **marked)
    assert (answer["verdict"], answer["reason"]) == ("waiting", "no_marker")
    assert "the file talk.mp3.ok, lies beside it" in answer["message"]

    marker.symlink_to("/etc/hostname")
    assert ask(spool, talk, **marked)["reason"] == "no_marker"
    assert "a symbolic link, not a file, and so no marker" in ask(spool, marker, **marked)["message"]

    marker.unlink()
    answer = ask(spool, put(marker, ""), **marked)
    assert (answer["verdict"], answer["reason"]) == ("marker", "ready_marker")
    answer = ask(spool, talk, **marked)
    assert (answer["verdict"], answer["reason"]) == ("waiting", "settling")
    assert "for 0.2 s: talk.mp3.ok says that it is whole" in answer["message"]

    while talk.lstat().st_ctime_ns <= marker.lstat().st_ctime_ns:
        os.utime(talk)
    assert "for 5 s: it came, or changed, after talk.mp3.ok" in ask(spool, talk, **marked)["message"]

    talk.unlink()
    assert "no such recording lies beside it" in ask(spool, marker, **marked)["message"]
    assert ask(spool, marker)["reason"] == "not_media"
    answer = ask(spool, put(spool / "archive/done.mp3.ok", ""), **marked)
    assert (answer["verdict"], answer["reason"]) == ("job", "completed")
