"""The scan: every file in the inbox is either a candidate or rejected with its reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem, set_uid

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.scan import Candidate, Rejected, scan

FLAT = SpoolSettings()
DEEP = SpoolSettings(recursive=True)


def put(path: Path, content: bytes = b"sound") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def candidates(inbox: Path, settings: SpoolSettings) -> list[tuple[bytes, bytes]]:
    return [(found.subfolder, found.name) for found in scan(inbox, settings) if isinstance(found, Candidate)]


def reasons(inbox: Path, settings: SpoolSettings = FLAT) -> dict[str, str]:
    return {found.path.name: found.rejection.reason for found in scan(inbox, settings) if isinstance(found, Rejected)}


def test_scan_yields_recordings_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("c.wav", "a.wav", "B.mp3"):
        put(tmp_path / name)

    assert candidates(tmp_path, FLAT) == [(b"", b"B.mp3"), (b"", b"a.wav"), (b"", b"c.wav")]


def test_scan_tells_what_it_saw_of_a_recording(tmp_path: Path) -> None:
    path = put(tmp_path / "a.wav")
    (found,) = scan(tmp_path, FLAT)

    assert found == Candidate(path, b"a.wav", b"", path.lstat())


def test_scan_without_recursion_looks_into_no_subfolder(tmp_path: Path) -> None:
    put(tmp_path / "radio" / "a.wav")

    assert list(scan(tmp_path, FLAT)) == []


def test_scan_with_recursion_mirrors_the_subfolders(tmp_path: Path) -> None:
    put(tmp_path / "radio" / "monday" / "a.wav")
    put(tmp_path / "b.wav")
    put(tmp_path / "radio" / "c.wav")

    assert candidates(tmp_path, DEEP) == [(b"", b"b.wav"), (b"radio", b"c.wav"), (b"radio/monday", b"a.wav")]


@pytest.mark.parametrize("folder", [".stfolder", ".Trash-1000/files", "@eaDir", "#recycle", "radio/.hidden"])
def test_scan_passes_hidden_and_system_folders_over(tmp_path: Path, folder: str) -> None:
    put(tmp_path / folder / "a.wav")

    assert candidates(tmp_path, DEEP) == []


def test_scan_follows_no_link_to_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.wav")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "linked").symlink_to(tmp_path / "elsewhere")

    assert candidates(tmp_path / "inbox", DEEP) == []


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.wav",
        b"\xff\xfe\x01.mp3",
        b"two\nlines.wav",
        "čeština 🎙.ogg".encode(),
        b"-rf.wav",
        b"x" * 251 + b".wav",
        b"  .wav",
        b"back\\slash.wav",
    ],
)
def test_scan_keeps_the_bytes_of_odd_names(tmp_path: Path, name: bytes) -> None:
    folder = name.removesuffix(name[-4:])
    put(tmp_path / os.fsdecode(name))
    put(tmp_path / os.fsdecode(folder) / os.fsdecode(name))

    assert set(candidates(tmp_path, DEEP)) == {(b"", name), (folder, name)}


def test_scan_takes_an_empty_file_as_a_candidate_since_settling_judges_it(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", b"")

    assert candidates(tmp_path, FLAT) == [(b"", b"a.wav")]


def test_scan_rejects_what_is_no_file_without_opening_it(tmp_path: Path) -> None:
    put(tmp_path / "real.wav")
    (tmp_path / "link.wav").symlink_to("real.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    os.mkfifo(tmp_path / "pipe.wav")

    assert reasons(tmp_path) == dict.fromkeys(("link.wav", "loop.wav", "pipe.wav"), "not_a_file")


def test_scan_yields_no_folder_that_is_named_like_a_recording(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()

    assert list(scan(tmp_path, FLAT)) == list(scan(tmp_path, DEEP)) == []


def test_scan_gives_a_reason_for_each_file_that_stays(tmp_path: Path) -> None:
    for name in ("notes.txt", "a.wav.part", ".cesar-0123", ".hidden.wav"):
        put(tmp_path / name)

    assert reasons(tmp_path) == {
        "notes.txt": "not_media",
        "a.wav.part": "ignored_name",
        ".cesar-0123": "our_own",
        ".hidden.wav": "ignored_name",
    }


def test_scan_passes_over_a_file_that_vanishes_meanwhile(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        put(tmp_path / name)
    found = []
    for one in scan(tmp_path, FLAT):
        found.append(one.path.name)
        (tmp_path / "b.wav").unlink(missing_ok=True)

    assert found == ["a.wav", "c.wav"]


def test_scan_passes_over_a_subfolder_that_vanishes_meanwhile(tmp_path: Path) -> None:
    put(tmp_path / "a.wav")
    (tmp_path / "b").mkdir()
    put(tmp_path / "c.wav")
    found = []
    for one in scan(tmp_path, DEEP):
        found.append(one.path.name)
        if (tmp_path / "b").exists():
            (tmp_path / "b").rmdir()

    assert found == ["a.wav", "c.wav"]


def test_scan_tells_of_a_subfolder_that_it_may_not_read_and_goes_on(fs: FakeFilesystem) -> None:
    fs.create_file("/inbox/a/x.wav", contents="sound")
    fs.create_file("/inbox/b.wav", contents="sound")
    Path("/inbox/a").chmod(0o311)
    set_uid(1000)
    found = list(scan(Path("/inbox"), DEEP))
    set_uid(0)

    assert [one.path.name for one in found] == ["a", "b.wav"]
    assert isinstance(found[0], Rejected)
    assert found[0].rejection.reason == "not_readable"


def test_scan_of_an_inbox_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(scan(tmp_path / "inbox", FLAT))
