"""The command `transcribe`: the real command and the bundled model, where there is no spool."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.processes import (
    COMMAND,
    LIMIT_S,
    RECORDINGS,
    alive,
    children,
    command,
    environment,
    expected_words,
    until,
    word_error_rate,
    words,
)
from tests.sounds import silence, write_wav

Transcribe = Callable[..., CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two recordings; temporary files go to another one, `scratch`."""
    (tmp_path / "scratch").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("numbers.wav", "letters.mp3"):
        shutil.copy(RECORDINGS / name, folder)
    return folder


def scratch_of(folder: Path) -> dict[str, str]:
    return {"TMPDIR": str(folder.parent / "scratch")}


@pytest.fixture
def transcribe(folder: Path) -> Transcribe:
    """Run the command in the folder."""

    def run(*asked: str | Path, **settings: str) -> CompletedProcess[str]:
        return command("transcribe", *asked, cwd=folder, **(scratch_of(folder) | settings))

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_refused(done: CompletedProcess[str], told: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"cesar-watch: [^\n]*{told}[^\n]*\n", done.stderr)


# --- where the transcripts go ---------------------------------------------------------------------


def test_one_file_in_one_format_goes_to_standard_output_and_nothing_else_does(
    transcribe: Transcribe, folder: Path
) -> None:
    done = transcribe("numbers.wav")

    assert done.returncode == 0
    assert word_error_rate(words(done.stdout), expected_words("numbers.wav")) < 0.2
    assert [line for line in done.stderr.splitlines() if "only a few dozen English words" not in line] == []
    assert (names(folder), names(folder.parent / "scratch")) == (["letters.mp3", "numbers.wav"], [])


def test_other_format_goes_to_standard_output_where_it_is_asked_for(transcribe: Transcribe) -> None:
    assert transcribe("letters.mp3", "--format", "srt").stdout.startswith("1\n00:00:0")


def test_several_files_and_formats_go_beside_the_files(transcribe: Transcribe, folder: Path) -> None:
    done = transcribe("numbers.wav", "letters.mp3", "--beside", "--format", "srt", "--format", "txt")

    assert (done.returncode, done.stdout) == (0, "")
    made = ["letters.srt", "letters.txt", "numbers.srt", "numbers.txt"]
    assert names(folder) == sorted(["letters.mp3", "numbers.wav", *made])
    assert word_error_rate(words((folder / "numbers.txt").read_text()), expected_words("numbers.wav")) < 0.2


def test_folder_for_transcripts_is_made(transcribe: Transcribe, folder: Path) -> None:
    assert transcribe("numbers.wav", "--to", "new/folder").returncode == 0

    assert names(folder / "new/folder") == ["numbers.txt"]


def test_transcript_of_a_file_whose_name_is_not_utf_8_keeps_its_bytes(transcribe: Transcribe, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    (folder / "numbers.wav").rename(folder / name)

    assert transcribe(name, "--beside").returncode == 0
    assert (folder / os.fsdecode(b"caf\xe9.txt")).exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("numbers.wav", "letters.mp3"), "Only one file in one format .* --beside, or --to DIR"),
        (("numbers.wav", "--format", "txt", "--format", "srt"), "Only one file in one format"),
        (("numbers.wav", "--json"), "Only one file in one format"),
        (("numbers.wav", "--beside", "--to", "x"), "Choose one"),
        (("numbers.wav", "--format", "docx"), "no format 'docx'"),
        (("numbers.wav", "gone.wav", "--beside"), "gone.wav does not exist"),
        (("numbers.wav", "gone.wav", "--to", "new"), "gone.wav does not exist"),
        ((f"{'x' * 300}.wav",), "can't be read: File name too long"),
        (("numbers.wav", "--to", "letters.mp3"), "letters.mp3 can't be made"),
        (("numbers.wav", "--set", "engine.nonsense=1"), "settings are wrong"),
    ],
)
def test_what_can_not_be_done_is_refused_in_a_sentence(
    transcribe: Transcribe, folder: Path, asked: tuple[str, ...], told: str
) -> None:
    done = transcribe(*asked)

    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(rf"cesar-watch: [^\n]*{told}", done.stderr)
    assert names(folder) == ["letters.mp3", "numbers.wav"]


def test_transcript_that_is_there_is_never_replaced_and_nothing_is_begun(transcribe: Transcribe, folder: Path) -> None:
    (folder / "numbers.txt").write_text("mine")

    assert_refused(transcribe("letters.mp3", "numbers.wav", "--beside"), "numbers.txt exists already")
    assert (folder / "numbers.txt").read_text() == "mine"
    assert names(folder) == ["letters.mp3", "numbers.txt", "numbers.wav"]


def test_standard_output_that_can_not_be_written_is_told_in_a_sentence(folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "transcribe", "numbers.wav"],
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr.endswith(b"\ncesar-watch: Standard output can't be written: No space left on device.\n")


# --- what is said -----------------------------------------------------------------------------------


def test_file_that_fails_is_told_in_a_sentence_and_the_others_are_transcribed(
    transcribe: Transcribe, folder: Path
) -> None:
    (folder / "broken.mp3").write_bytes(b"no sound at all")
    done = transcribe("broken.mp3", "numbers.wav", "--beside")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"^cesar-watch: broken\.mp3 is not a recording [^\n]+\.$", done.stderr, re.MULTILINE)
    assert names(folder) == ["broken.mp3", "letters.mp3", "numbers.txt", "numbers.wav"]


def test_transcript_that_is_not_to_be_trusted_is_said_to_be_so(transcribe: Transcribe, folder: Path) -> None:
    write_wav(folder / "silence.wav", silence(5))
    done = transcribe("silence.wav")

    assert (done.returncode, done.stdout) == (0, "")
    assert "cesar-watch: silence.wav: empty, no words were found in it.\n" in done.stderr


def test_json_has_a_line_for_each_file_in_the_order_asked(transcribe: Transcribe, folder: Path) -> None:
    half = (folder / "numbers.wav").read_bytes()
    (folder / "half.wav").write_bytes(half[: len(half) // 2])
    (folder / "broken.mp3").write_bytes(b"no sound at all")
    done = transcribe("half.wav", "broken.mp3", "numbers.wav", "--json", "--to", ".", "--format", "vtt")
    partial, failed, good = (json.loads(line) for line in done.stdout.splitlines())

    assert done.returncode == 1
    assert (partial["verdict"], failed["verdict"], good["verdict"]) == ("partial", None, "ok")
    assert partial["spans"][-1]["reason"] == "missing"
    assert (failed["path"], failed["outputs"], failed["error"]["reason"]) == ("broken.mp3", [], "not_media")
    assert (good["path"], good["outputs"], good["error"]) == ("numbers.wav", ["numbers.vtt"], None)
    assert (good["language"], round(good["duration_s"])) == ("en", 12)
    assert good["rtf"] > 0


# --- settings ---------------------------------------------------------------------------------------


def test_configuration_counts_where_there_is_one(transcribe: Transcribe, folder: Path) -> None:
    (folder / "note.md").write_text("{title}, by {model}")
    (folder / "config.toml").write_text('[engine]\nmodel = "./gone"\n\n[output]\nmd_template = "note.md"\n')

    assert transcribe("numbers.wav").returncode == 3
    assert transcribe("numbers.wav", "--format", "md", "--model", "demo").stdout == "numbers, by demo"


def test_option_counts_more_than_set_and_set_more_than_the_environment(transcribe: Transcribe) -> None:
    absent = {"CESAR_WATCH_ENGINE__MODEL": "./absent"}

    assert "absent does not exist" in transcribe("numbers.wav", **absent).stderr
    assert "other does not exist" in transcribe("numbers.wav", "--set", "engine.model=./other", **absent).stderr
    last = transcribe("numbers.wav", "--set", "engine.model=./other", "--model", "./last", **absent)
    assert (last.returncode, "last does not exist" in last.stderr) == (3, True)


def test_language_that_is_asked_for_reaches_the_model(transcribe: Transcribe) -> None:
    english = transcribe("letters.mp3", "--language", "en", "--format", "json")
    german = transcribe("letters.mp3", "--language", "de", "--format", "json")

    assert json.loads(english.stdout)["language"] == "en"
    assert (german.returncode, german.stdout) == (1, "")
    assert 'knows English alone, and "de" is asked for' in german.stderr


# --- while it works ---------------------------------------------------------------------------------


@contextlib.contextmanager
def working(folder: Path, *asked: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command on some minutes of speech, beside the test."""
    for number in range(4):
        shutil.copy(RECORDINGS / "meeting.m4a", folder / f"meeting{number}.m4a")
    files = sorted(path.name for path in folder.glob("meeting*"))
    with subprocess.Popen(
        [*COMMAND, "transcribe", *files, *asked], cwd=folder, env=environment(**scratch_of(folder)), **streams
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("asking", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_ends_it_at_once_and_leaves_no_half_file_and_no_process(
    folder: Path, asking: signal.Signals, status: int
) -> None:
    with working(folder, "--to", "out", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: list((folder.parent / "scratch").glob("*/*/.cesar-checkpoint.jsonl")), "the work's beginning")
        (engine,) = children(process.pid)
        process.send_signal(asking)
        told, said = process.communicate(timeout=LIMIT_S)

    assert (process.returncode, told) == (status, b"")
    assert b"Traceback" not in said
    assert not alive(engine)
    assert (names(folder / "out"), names(folder.parent / "scratch")) == ([], [])


def test_terminal_shows_how_far_each_file_is_and_standard_output_does_not(folder: Path) -> None:
    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with working(folder, "--to", "out", stdout=subprocess.PIPE, stderr=its_end) as process:
        os.close(its_end)
        seen = b""
        with contextlib.suppress(OSError):  # so a terminal ends
            while more := os.read(terminal, 65536):
                seen += more
        assert process.wait(LIMIT_S) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(terminal)

    shown = re.sub(rb"\x1b\[[\d;?]*[a-zA-Z]", b"", seen)
    assert re.search(rb"meeting2\.m4a .* \d\d% \d:\d\d:\d\d", shown)
    assert b"meeting0.m4a: 4 min 40 s transcribed into out/meeting0.txt" in shown
