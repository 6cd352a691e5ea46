"""Which names and kinds of file are recordings; every refusal names its rule."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from cesar_watch.core.config import MEDIA_EXTENSIONS, SpoolSettings
from cesar_watch.core.durable import TEMPORARY_PREFIX
from cesar_watch.intake.rules import descend_into, reject_kind, reject_name

DEFAULTS = SpoolSettings()


@pytest.mark.parametrize("extension", MEDIA_EXTENSIONS)
def test_name_with_a_media_ending_is_taken_in_any_case(extension: str) -> None:
    for ending in (extension, extension.upper(), extension.title()):
        assert reject_name(f"talk.{ending}", DEFAULTS) is None


@pytest.mark.parametrize(
    "name",
    [
        "two words.mp3",
        "-rf.wav",
        "--help.ogg",
        "line\nbreak.wav",
        "čeština 🎙.flac",
        os.fsdecode(b"caf\xe9.mp3"),
        "a.b.c.opus",
        "tmp.wav",
        "$x;`y`.m4a",
        "x" * 251 + ".wav",
    ],
)
def test_name_however_odd_is_taken_if_its_ending_is_media(name: str) -> None:
    assert reject_name(name, DEFAULTS) is None


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.wav",
        ".talk.wav.Xa3f9Q",
        "~$talk.wav",
        "talk.wav~",
        "talk.tmp",
        "talk.wav.temp",
        "talk.wav.part",
        "talk.partial",
        "talk.filepart",
        "talk.wav.crdownload",
        "talk.download",
        "talk.opdownload",
        "talk.aria2",
        "talk.st",
        "talk.wav.!sync",
        "talk.!qB",
        "talk.!ut",
        "talk.ytdl",
        "talk.uploading",
        "talk.inprogress",
        "talk.incomplete",
        "~syncthing~talk.wav.tmp",
        "talk.sftmp",
        "talk.mega",
        "talk.ffs_tmp",
        "talk.unison.tmp",
        "Thumbs.db",
        "desktop.ini",
        "talk.lnk",
    ],
)
def test_name_of_a_file_that_is_still_coming_is_ignored_in_any_case(name: str) -> None:
    for variant in (name, name.upper(), name.lower()):
        rejection = reject_name(variant, DEFAULTS)
        assert rejection is not None
        assert rejection.reason == "ignored_name"
        assert "spool.ignore" in rejection.message


def test_patterns_are_each_met_by_some_name() -> None:
    silent = []
    for pattern in DEFAULTS.ignore:
        only = SpoolSettings(ignore=[pattern])
        name = pattern.replace("*", "talk.wav")
        rejection = reject_name(name, only)
        if rejection is None or rejection.reason != "ignored_name" or pattern not in rejection.message:
            silent.append(pattern)

    assert silent == []


@pytest.mark.parametrize("name", ["notes.txt", "talk", "talk.", "wav", ".", "talk.wav.txt", "talk.mp33", "a.wav "])
def test_name_without_a_media_ending_is_told_apart(name: str) -> None:
    rejection = reject_name(name, SpoolSettings(ignore=[]))

    assert rejection is not None
    assert rejection.reason == "not_media"


def test_name_of_our_own_is_never_taken_whatever_the_settings_say() -> None:
    rejection = reject_name(f"{TEMPORARY_PREFIX}0123.wav", SpoolSettings(ignore=[], extensions=["wav"]))

    assert rejection is not None
    assert rejection.reason == "our_own"


def test_name_that_the_settings_allow_is_taken() -> None:
    assert reject_name("talk.XYZ", SpoolSettings(extensions=[".xyz"])) is None
    assert reject_name("talk.wav", SpoolSettings(extensions=[".xyz"])) is not None


def test_pattern_of_the_user_is_obeyed_in_any_case() -> None:
    rejection = reject_name("DRAFT one.wav", SpoolSettings(ignore=["draft *"]))

    assert rejection is not None
    assert rejection.reason == "ignored_name"


def test_kind_of_a_regular_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()

    assert reject_kind((tmp_path / "x.wav").lstat().st_mode) is None


def test_kind_of_a_link_is_refused_even_if_it_leads_to_a_recording(tmp_path: Path) -> None:
    (tmp_path / "real.wav").touch()
    (tmp_path / "x.wav").symlink_to("real.wav")
    rejection = reject_kind((tmp_path / "x.wav").lstat().st_mode)

    assert rejection is not None
    assert (rejection.reason, "symbolic link" in rejection.message) == ("not_a_file", True)


def test_kind_of_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.wav")
    rejection = reject_kind((tmp_path / "x.wav").lstat().st_mode)

    assert rejection is not None
    assert "pipe" in rejection.message


def test_kind_of_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("x.wav")
        rejection = reject_kind((tmp_path / "x.wav").lstat().st_mode)

    assert rejection is not None
    assert "socket" in rejection.message


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_kind_of_a_device_is_refused(kind: int) -> None:
    rejection = reject_kind(kind | 0o644)

    assert rejection is not None
    assert "device" in rejection.message


@pytest.mark.parametrize(
    "name", [".stfolder", ".Trash-1000", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX"]
)
def test_folder_of_the_system_is_not_looked_into(name: str) -> None:
    assert not descend_into(name)


@pytest.mark.parametrize("name", ["radio", "2026-03", "-x", "Æon 🎙"])
def test_folder_of_a_person_is_looked_into(name: str) -> None:
    assert descend_into(name)
