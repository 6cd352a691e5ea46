"""The scan: every file in the inbox is either a candidate or rejected with its reason."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem, set_uid

from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.mounts import Mounts
from cesar_watch.intake.scan import Candidate, Rejected, Scanner, scan

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


def test_scan_without_recursion_looks_into_no_subfolder_and_tells_of_those_that_somebody_dropped(
    tmp_path: Path,
) -> None:
    put(tmp_path / "radio" / "a.wav")
    put(tmp_path / "@eaDir" / "a.wav")
    put(tmp_path / ".stfolder" / "a.wav")

    (found,) = scan(tmp_path, FLAT)
    assert isinstance(found, Rejected)
    assert (found.path, found.rejection.reason) == (tmp_path / "radio", "in_subfolder")


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

    assert not [found for how in (FLAT, DEEP) for found in scan(tmp_path, how) if isinstance(found, Candidate)]


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


# --- one look after another -------------------------------------------------------------------------


class CountingEntry:
    """An entry of a listing that writes down whose `lstat` is asked for."""

    def __init__(self, entry: os.DirEntry[str], asked: list[str]) -> None:
        self._entry, self._asked = entry, asked
        self.name, self.path, self.is_dir = entry.name, entry.path, entry.is_dir

    def stat(self, **options: Any) -> os.stat_result:
        self._asked.append(self.name)
        return self._entry.stat(**options)


def names(scanner: Scanner, settings: SpoolSettings = FLAT) -> list[str]:
    return [found.path.name for found in scanner.look(settings)]


def test_scanner_asks_for_the_lstat_of_recordings_only(tmp_path: Path) -> None:
    for name in ("notes.txt", "a.wav.part", "a.wav"):
        put(tmp_path / name)
    (tmp_path / "radio").mkdir()
    asked: list[str] = []

    @contextlib.contextmanager
    def listing(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        with os.scandir(folder) as entries:
            yield (cast(os.DirEntry[str], CountingEntry(entry, asked)) for entry in entries)

    scanner = Scanner(tmp_path, listing=listing)
    for _ in range(2):
        list(scanner.look(DEEP))

    assert asked == ["a.wav", "a.wav"]


def test_scanner_tells_once_of_what_its_name_rules_out_and_always_of_the_rest(tmp_path: Path) -> None:
    for name in ("notes.txt", "a.wav.part", "a.wav"):
        put(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.wav")
    scanner = Scanner(tmp_path)

    assert names(scanner) == ["a.wav", "a.wav.part", "notes.txt", "pipe.wav"]
    assert names(scanner) == names(scanner) == ["a.wav", "pipe.wav"]


def test_scanner_tells_of_settings_files_in_every_look(tmp_path: Path) -> None:
    scanner = Scanner(tmp_path)
    put(tmp_path / ".cesar.toml")
    put(tmp_path / "a.wav.toml")
    looks = [[found.path.name for found in scanner.look(FLAT)] for _ in range(3)]

    assert looks == [[".cesar.toml", "a.wav.toml"]] * 3


def test_scanner_tells_again_of_what_went_and_came_back(tmp_path: Path) -> None:
    scanner = Scanner(tmp_path)
    put(tmp_path / "notes.txt")
    put(tmp_path / "more.txt")
    names(scanner)
    (tmp_path / "notes.txt").unlink()
    assert names(scanner) == []
    put(tmp_path / "notes.txt")

    assert names(scanner) == ["notes.txt"]


def test_scanner_forgets_what_is_gone(tmp_path: Path) -> None:
    scanner = Scanner(tmp_path)
    for number in range(3):
        put(tmp_path / "radio" / f"{number}.txt")
    names(scanner, DEEP)
    (tmp_path / "radio").rename(tmp_path / "tv")
    (tmp_path / "tv" / "1.txt").unlink()
    names(scanner, DEEP)

    assert scanner._rejected == {"": set(), "tv": {"0.txt", "2.txt"}}


def test_scanner_sees_a_recording_come_under_its_final_name_beside_its_temporary_one(tmp_path: Path) -> None:
    scanner = Scanner(tmp_path)
    put(tmp_path / "a.wav.part")
    names(scanner)
    (tmp_path / "a.wav.part").rename(tmp_path / "a.wav")

    assert names(scanner) == ["a.wav"]


def test_scanner_looks_into_a_folder_that_has_the_name_of_a_file_that_was_ruled_out(tmp_path: Path) -> None:
    scanner = Scanner(tmp_path)
    put(tmp_path / "show.txt")
    names(scanner, DEEP)
    (tmp_path / "show.txt").unlink()
    put(tmp_path / "show.txt" / "a.wav")

    assert names(scanner, DEEP) == ["a.wav"]


def test_scanner_judges_all_names_anew_when_the_settings_changed(tmp_path: Path) -> None:
    scanner = Scanner(tmp_path)
    put(tmp_path / "talk.xyz")
    names(scanner)

    assert names(scanner, SpoolSettings(extensions=["xyz"])) == ["talk.xyz"]
    assert isinstance(next(scanner.look(SpoolSettings(extensions=["xyz"]))), Candidate)


@pytest.mark.parametrize("broken", ["", "b"])
@pytest.mark.parametrize("listed", [0, 1])
def test_scanner_whose_disk_failed_while_it_listed_sees_everything_in_the_next_look(
    tmp_path: Path, broken: str, listed: int
) -> None:
    for name in ("a.wav", "b/notes.txt", "b/c.wav", "d.wav", "notes.txt"):
        put(tmp_path / name)
    faults = [OSError(errno.EIO, os.strerror(errno.EIO))]

    @contextlib.contextmanager
    def listing(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        def some() -> Iterator[os.DirEntry[str]]:
            for number, entry in enumerate(entries):
                if number == listed and folder == tmp_path / broken and faults:
                    raise faults.pop()
                yield entry

        with os.scandir(folder) as entries:
            yield some()

    scanner = Scanner(tmp_path, listing=listing)
    seen: list[str] = []
    with pytest.raises(OSError, match="Input/output"):
        seen.extend(found.path.name for found in scanner.look(DEEP))
    seen = [found.path.name for found in scanner.look(DEEP)]

    assert [name for name in seen if name.endswith(".wav")] == ["a.wav", "c.wav", "d.wav"]


def test_scanner_tells_of_each_folder_before_it_lists_it_and_whether_it_is_remote(tmp_path: Path) -> None:
    put(tmp_path / "inbox" / "nas" / "deep" / "b.wav")
    put(tmp_path / "inbox" / "a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "inbox")
    inbox = tmp_path / "link"
    mounts = Mounts({"/": "ext4", os.path.realpath(tmp_path / "inbox" / "nas"): "nfs4"})
    entered: list[tuple[Path, bool]] = []

    def enter(folder: Path, is_remote: bool) -> None:
        entered.append((folder, is_remote))
        put(folder / "new.wav")

    found = [one for one in Scanner(inbox).look(DEEP, enter=enter, mounts=mounts) if isinstance(one, Candidate)]

    assert entered == [(inbox, False), (inbox / "nas", True), (inbox / "nas" / "deep", True)]
    assert [(one.path.relative_to(inbox).as_posix(), one.is_remote) for one in found] == [
        ("a.wav", False),
        ("nas/deep/b.wav", True),
        ("nas/deep/new.wav", True),
        ("nas/new.wav", True),
        ("new.wav", False),
    ]
