"""Which options a recording gets: the nearest wins, and a wrong file fails only what it is for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem, set_uid

from cesar_watch.core.config import Settings
from cesar_watch.core.errors import AttemptError
from cesar_watch.core.job import Job
from cesar_watch.intake.overrides import LARGEST_BYTES, Resolved, resolve
from tests.builders import make_job


def options(inbox: Path, path: str = "talk.mp3", **sections: Any) -> Resolved:
    """Resolve the options of a recording that lies in the inbox."""
    recording = inbox / path
    subfolder = os.fsencode(os.path.dirname(path))
    return resolve(Settings(**sections), inbox, subfolder, os.fsencode(recording.name), recording)


def job_with(resolved: Resolved) -> Job:
    return make_job(options=resolved.options)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def fault_of(inbox: Path, text: str | bytes) -> str:
    (inbox / "talk.mp3.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    fault = options(inbox).fault
    assert fault is not None
    assert fault.reason == "bad_override"
    return fault.message


# --- who wins -----------------------------------------------------------------------------------


def test_options_without_overrides_are_those_of_the_settings(tmp_path: Path) -> None:
    assert options(tmp_path) == Resolved(Settings().job_options())


def test_options_are_those_of_the_nearest_key_by_key(tmp_path: Path) -> None:
    profiles = [
        {"match": "*.mp3", "language": "en", "beam_size": 2, "task": "translate", "window_s": 60},
        {"match": "A/*", "beam_size": 3},
        {"match": "other/*", "hotwords": "never"},
    ]
    put(tmp_path / ".cesar.toml", 'language = "cs"\nmodel = "small"\n')
    put(tmp_path / "a/.cesar.toml", 'language = "de"\nformats = ["txt"]\n')
    put(tmp_path / "a/b/talk.mp3.toml", "beam_size = 4\n")
    resolved = options(tmp_path, "a/b/talk.mp3", profile=profiles)
    engine = resolved.options["engine"]

    assert resolved.fault is None
    assert (engine["task"], engine["window_s"], engine["hotwords"]) == ("translate", 60.0, None)
    assert (engine["language"], engine["model"], engine["beam_size"]) == ("de", "small", 4)
    assert resolved.options["output"]["formats"] == ["txt"]


def test_options_tell_where_each_came_from(tmp_path: Path) -> None:
    put(tmp_path / "a/.cesar.toml", 'language = "de"\n')
    put(tmp_path / "a/talk.mp3.toml", "# nothing yet\n")
    resolved = options(tmp_path, "a/talk.mp3", profile=[{"match": "a/*", "language": "en", "beam_size": 2}])
    job = job_with(resolved)

    assert resolved.options["overrides"] == [
        {"kind": "profile", "from": "profile a/*", "set": {"language": "en", "beam_size": 2}},
        {"kind": "folder", "from": "inbox/a/.cesar.toml", "set": {"language": "de"}},
        {"kind": "recording", "from": "talk.mp3.toml", "set": {}},
    ]
    assert [job.chosen_by({key}) for key in ("language", "beam_size", "model")] == [
        "inbox/a/.cesar.toml",
        "profile a/*",
        None,
    ]
    assert job.has_settings_file
    assert json.loads(json.dumps(resolved.options)) == resolved.options


def test_options_of_one_recording_are_not_those_of_its_neighbour(tmp_path: Path) -> None:
    put(tmp_path / "talk.mp3.toml", 'language = "de"\n')

    assert options(tmp_path).options["engine"]["language"] == "de"
    assert options(tmp_path, "talk.wav") == options(tmp_path, "talk") == Resolved(Settings().job_options())


def test_options_of_where_a_recording_runs_are_stored_only_where_they_were_chosen(tmp_path: Path) -> None:
    put(tmp_path / "talk.mp3.toml", 'compute_type = "int8"\ntimeout_s = 60\nsidecar_every_s = 9\n')
    chosen, others = options(tmp_path).options, options(tmp_path, "other.mp3").options

    assert (chosen["engine"]["compute_type"], chosen["engine"]["timeout_s"]) == ("int8", 60.0)
    assert chosen["output"]["sidecar_every_s"] == 9.0
    assert "compute_type" not in others["engine"]


def test_settings_file_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / "talk.mp3.toml").write_bytes(b'\xef\xbb\xbflanguage = "de"\r\nbeam_size = 3\r\n')

    assert options(tmp_path).options["engine"]["beam_size"] == 3


def test_name_that_leaves_no_room_for_a_settings_file_has_none(tmp_path: Path) -> None:
    assert options(tmp_path, "n" * 251 + ".mp3") == Resolved(Settings().job_options())


def test_name_that_is_no_text_has_its_settings_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp3")
    put(tmp_path / f"{name}.toml", 'language = "fr"\n')
    resolved = options(tmp_path, name, profile=[{"match": "caf*", "beam_size": 2}])

    assert (resolved.options["engine"]["language"], resolved.options["engine"]["beam_size"]) == ("fr", 2)
    assert resolved.options["overrides"][1]["from"] == "caf\N{REPLACEMENT CHARACTER}.mp3.toml"


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("language = \n", "talk.mp3.toml, line 1, column 12: this is not valid TOML"),
        ("a = 1\n\nlanguage = 'x", "talk.mp3.toml, line 3, column 14: this is not valid TOML"),
        ("# x\nbeam = 3\n", "talk.mp3.toml, line 2, column 1: beam: is not a known engine or output setting"),
        (
            "\n  beam_size = 99\n",
            "talk.mp3.toml, line 2, column 3: beam_size: input should be less than or equal to 20",
        ),
        ('beam_size = "many"\n', "talk.mp3.toml, line 1, column 1: beam_size: input should be a valid integer"),
        ('formats = ["txt", "docx"]\n', "talk.mp3.toml, line 1, column 1: formats: input should be"),
        ('\n[engine]\nlanguage = "de"\n', "talk.mp3.toml, line 2, column 1: engine: has no place here"),
        ('isolation = "thread"\n', "talk.mp3.toml, line 1, column 1: isolation: is the whole service's"),
        ("nice = 0\n", "talk.mp3.toml, line 1, column 1: nice: is the whole service's"),
        ("memory_limit_bytes = 0\n", "talk.mp3.toml, line 1, column 1: memory_limit_bytes: is the whole service's"),
        (
            'md_template = "/etc/passwd"\n',
            "talk.mp3.toml, line 1, column 1: md_template: names a file of the service's",
        ),
        ('a = 1\nmodel = "./x"\n', "talk.mp3.toml, line 1, column 1: a: is not"),
        ('beam_size = 2\nmodel = "./x"\n', "talk.mp3.toml, line 2, column 1: model: is a relative path"),
        (b'a = 1\nlanguage = "\xe9"\n', "talk.mp3.toml, line 2, column 13: this is not UTF-8"),
        (b"\xff\xfel\0a\0", "talk.mp3.toml, line 1, column 1: this is not UTF-8"),
        ("a = " + "[" * 9999, "talk.mp3.toml, line 1, column 10004: this is not valid TOML (nested too deeply)"),
        ("window_s = " + "9" * 5000, "talk.mp3.toml, line 1, column"),
        ("#" * LARGEST_BYTES + "#", "talk.mp3.toml has more than 65536 bytes"),
    ],
)
def test_wrong_file_is_told_with_line_and_column(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert told in fault_of(tmp_path, text)


def test_wrong_file_is_told_with_all_its_faults_in_their_order(tmp_path: Path) -> None:
    message = fault_of(tmp_path, "beam_size = 0\nfoo = 1\nlanguage = 3\n")

    assert [message.index(f"line {line}") for line in (1, 2, 3)] == sorted(
        message.index(f"line {line}") for line in (1, 2, 3)
    )


def test_wrong_folder_file_fails_what_lies_below_it_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "a/.cesar.toml", "x = 1\n")
    put(tmp_path / "a/talk.mp3.toml", 'language = "de"\n')
    inside, outside = options(tmp_path, "a/talk.mp3"), options(tmp_path, "b/talk.mp3")

    assert inside.fault is not None
    assert inside.fault.message.startswith("inbox/a/.cesar.toml, line 1, column 1: x: is not")
    assert outside.fault is None


def test_wrong_file_leaves_options_with_which_the_job_can_be_stored(tmp_path: Path) -> None:
    fault_of(tmp_path, "x = 1\n")
    resolved = options(tmp_path)

    assert resolved.options["engine"] == Settings().job_options()["engine"]
    assert job_with(resolved).has_settings_file


def test_settings_file_that_is_a_link_is_wrong_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('language = "de"\n')
    (tmp_path / "talk.mp3.toml").symlink_to("secret")
    fault = options(tmp_path).fault

    assert fault is not None
    assert "symbolic link" in fault.message


def test_settings_file_that_is_a_pipe_or_a_folder_is_wrong_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "talk.mp3.toml")
    (tmp_path / ".cesar.toml").mkdir()

    for path in ("talk.mp3", "other.mp3"):
        fault = options(tmp_path, path).fault
        assert fault is not None
        assert "not a file" in fault.message


def test_settings_file_that_can_not_be_read_lets_its_recording_wait(fs: FakeFilesystem) -> None:
    fs.create_file("/inbox/talk.mp3.toml", contents="x", st_mode=0o100000)
    set_uid(1000)
    with pytest.raises(AttemptError) as caught:
        options(Path("/inbox"))
    set_uid(0)

    assert caught.value.reason == "not_readable"
