"""Which names and kinds of file are recordings; every refusal names its rule."""

from __future__ import annotations

import os
import socket
import stat
import unicodedata
from pathlib import Path

import pytest
from pydantic import ValidationError

from cesar_watch.core.config import MEDIA_EXTENSIONS, SpoolSettings
from cesar_watch.core.durable import TEMPORARY_PREFIX
from cesar_watch.intake.ignored import IGNORED
from cesar_watch.intake.rules import reject_folder, reject_kind, reject_name, suspect

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


@pytest.mark.parametrize("glob", [glob for _, globs in IGNORED for glob in globs])
def test_glob_of_the_table_is_met_by_a_name(glob: str) -> None:
    name = glob.replace("*", "talk").replace("[a-p]", "p").removesuffix("/")
    rejection = reject_folder(name, DEFAULTS) if glob.endswith("/") else reject_name(name, DEFAULTS)

    assert rejection is not None
    assert rejection.reason == "ignored_name"
    assert "spool.ignore" in rejection.message


@pytest.mark.parametrize(
    "name",
    [
        "talk.sync-conflict-20260301-120000-ABCDEFG.mp3",
        "talk (Ada's conflicted copy 2026-03-01).mp3",
        "talk_conflict-20260301-120000.mp3",
        "talk part 2.mp3",
        "temp.mp3",
        "download.mp3",
        "tmp.part.mp3",
    ],
)
def test_name_that_only_resembles_a_temporary_one_is_taken(name: str) -> None:
    assert reject_name(name, DEFAULTS) is None
    assert suspect(name, DEFAULTS) is None


@pytest.mark.parametrize("name", ["~talk.mp3", "talk.temp.mp4", "talk.f140.m4a", "CIFS0a1b.mp3"])
def test_name_that_temporary_files_have_too_is_taken_after_a_longer_wait(name: str) -> None:
    assert reject_name(name, DEFAULTS) is None
    assert suspect(name, DEFAULTS)
    assert suspect(name, SpoolSettings(ignore=["!~*", "!*.temp.*", "!*.f*.*", "!cifs*"])) is None


def test_name_is_told_with_whose_it_is() -> None:
    rejection = reject_name("talk.mp3.crdownload", DEFAULTS)

    assert rejection is not None
    assert "'*.crdownload', an unfinished download of Chrome" in rejection.message


@pytest.mark.parametrize("name", ["talk.mp3.toml", "TALK.WAV.TOML", ".cesar.toml", "notes.toml"])
def test_name_of_a_settings_file_is_never_a_recording(name: str) -> None:
    rejection = reject_name(name, SpoolSettings(extensions=["toml", "wav"], ignore=["!*"]))

    assert rejection is not None
    assert rejection.reason == "settings_file"


@pytest.mark.parametrize("name", ["notes.txt", "talk", "talk.", "wav", "talk.wav.txt", "talk.mp33", "a.wav "])
def test_name_without_a_media_ending_is_told_apart(name: str) -> None:
    rejection = reject_name(name, DEFAULTS)

    assert rejection is not None
    assert rejection.reason == "not_media"


def test_name_of_our_own_is_never_taken_whatever_the_settings_say() -> None:
    rejection = reject_name(f"{TEMPORARY_PREFIX}0123.wav", SpoolSettings(ignore=["!*"], extensions=["wav"]))

    assert rejection is not None
    assert rejection.reason == "our_own"


def test_name_that_the_settings_allow_is_taken() -> None:
    assert reject_name("talk.XYZ", SpoolSettings(extensions=[".xyz"])) is None
    assert reject_name("talk.wav", SpoolSettings(extensions=[".xyz"])) is not None


def test_pattern_of_the_user_is_obeyed_in_any_case() -> None:
    rejection = reject_name("DRAFT one.wav", SpoolSettings(ignore=["draft *"]))

    assert rejection is not None
    assert rejection.reason == "ignored_name"
    assert "'draft *' in spool.ignore" in rejection.message


def test_pattern_of_the_user_adds_to_the_table() -> None:
    settings = SpoolSettings(ignore=["draft *"])

    assert reject_name("talk.wav.part", settings) is not None
    assert reject_name("talk.wav", settings) is None


def test_pattern_of_the_user_in_another_normal_form_is_obeyed() -> None:
    settings = SpoolSettings(ignore=[unicodedata.normalize("NFD", "před *")])

    assert reject_name(unicodedata.normalize("NFC", "před tím.wav"), settings) is not None


def test_pattern_with_an_exclamation_mark_takes_what_the_table_ignores() -> None:
    settings = SpoolSettings(ignore=["!.voice *"])

    assert reject_name(".voice memo.wav", settings) is None
    assert reject_name(".other.wav", settings) is not None


def test_patterns_of_the_user_are_decided_by_the_last_that_fits() -> None:
    assert reject_name("draft 7.wav", SpoolSettings(ignore=["draft *", "!draft 7*"])) is None
    assert reject_name("draft 7.wav", SpoolSettings(ignore=["!draft 7*", "draft *"])) is not None


def test_pattern_with_a_last_slash_is_for_folders_only() -> None:
    settings = SpoolSettings(ignore=["raw/", "!.studio/", "old"])

    assert reject_folder("Raw", settings) is not None
    assert reject_name("raw.wav", settings) is None
    assert reject_folder(".studio", settings) is None
    assert reject_folder("old", settings) is not None


@pytest.mark.parametrize("pattern", ["", "!", "/", "a/b", "a/*.wav", "/a"])
def test_pattern_that_could_never_fit_a_bare_name_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="bare names"):
        SpoolSettings(ignore=[pattern])


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
    "name",
    [
        *(".stfolder", ".stversions", ".Trash-1000", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found"),
        *("__MACOSX", "System Volume Information", "@Recycle", ".@__thumb", ".rsync-partial", "talk.mp3.download"),
        *("Network Trash Folder", "Temporary Items", ".tmp.drivedownload", "SYNOAUDIO@talk", ".cesar-x"),
    ],
)
def test_folder_of_the_system_is_not_looked_into(name: str) -> None:
    assert reject_folder(name, DEFAULTS)


@pytest.mark.parametrize("name", ["radio", "2026-03", "-x", "Æon 🎙", "#podcasts", "@home", "$$$"])
def test_folder_of_a_person_is_looked_into(name: str) -> None:
    assert reject_folder(name, DEFAULTS) is None
