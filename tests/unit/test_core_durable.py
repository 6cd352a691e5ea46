"""Moves and writes: whole or not at all, never over somebody's file, synced in the one right order."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from cesar_watch.core.durable import (
    TEMPORARY_PREFIX,
    Rename,
    finish_move,
    link_noreplace,
    make_dirs,
    move,
    rename_noreplace,
    sync_dir,
    sync_file,
    write_new,
    write_replace,
)
from cesar_watch.core.errors import NameTaken

RENAMES = pytest.mark.parametrize("rename", [rename_noreplace, link_noreplace])


class Syncs:
    """Every fsync, in order: what was synced, and whether `watched` existed at that moment."""

    def __init__(self, watched: Path) -> None:
        self.watched = watched
        self.paths: list[Path] = []
        self.existed: list[bool] = []
        self.fault: Callable[[Path], OSError | None] = lambda _: None
        self._real = os.fsync

    def __call__(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self.paths.append(path)
        self.existed.append(os.path.lexists(self.watched))
        if fault := self.fault(path):
            raise fault
        self._real(descriptor)


@pytest.fixture
def syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Syncs:
    recorder = Syncs(tmp_path / "there" / "talk.txt")
    recorder.watched.parent.mkdir()
    monkeypatch.setattr(os, "fsync", recorder)
    return recorder


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- renames ------------------------------------------------------------------------------


@RENAMES
def test_rename_to_a_free_name_moves_the_file(tmp_path: Path, rename: Rename) -> None:
    (tmp_path / "a").write_text("sound")
    rename(tmp_path / "a", tmp_path / "b")

    assert names_in(tmp_path) == {"b"}
    assert (tmp_path / "b").read_text() == "sound"


@RENAMES
def test_rename_to_a_taken_name_changes_nothing(tmp_path: Path, rename: Rename) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").write_text("theirs")

    with pytest.raises(FileExistsError):
        rename(tmp_path / "a", tmp_path / "b")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("mine", "theirs")


@RENAMES
def test_rename_to_a_dangling_links_name_is_refused(tmp_path: Path, rename: Rename) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").symlink_to("nowhere")

    with pytest.raises(FileExistsError):
        rename(tmp_path / "a", tmp_path / "b")


@RENAMES
def test_rename_of_a_link_moves_the_link_and_not_what_it_points_to(tmp_path: Path, rename: Rename) -> None:
    (tmp_path / "a").symlink_to("/etc/hostname")
    rename(tmp_path / "a", tmp_path / "b")

    assert os.readlink(tmp_path / "b") == "/etc/hostname"


@RENAMES
def test_rename_of_a_missing_file_says_so(tmp_path: Path, rename: Rename) -> None:
    with pytest.raises(FileNotFoundError):
        rename(tmp_path / "a", tmp_path / "b")


def test_rename_of_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.wav")
    (tmp_path / name).write_text("sound")
    rename_noreplace(tmp_path / name, tmp_path / f"2{name}")

    assert os.listdir(os.fsencode(tmp_path)) == [b"2caf\xe9\n.wav"]


# --- moves --------------------------------------------------------------------------------


@RENAMES
def test_move_to_a_taken_name_leaves_both(tmp_path: Path, rename: Rename) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").write_text("theirs")

    with pytest.raises(FileExistsError):
        move(tmp_path / "a", tmp_path / "b", rename=rename)
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("mine", "theirs")


def test_move_syncs_the_source_folder_before_the_destination(syncs: Syncs, tmp_path: Path) -> None:
    source = tmp_path / "here" / "talk.txt"
    source.parent.mkdir()
    source.write_text("sound")
    move(source, syncs.watched)

    assert syncs.paths == [source.parent, syncs.watched.parent]
    assert syncs.existed == [True, True]


def test_move_within_one_folder_syncs_it_once(syncs: Syncs, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("sound")
    move(tmp_path / "a", tmp_path / "b")

    assert syncs.paths == [tmp_path]


def test_move_whose_success_was_reported_as_an_error_counts_as_done(tmp_path: Path) -> None:
    def lost_reply(source: Path, target: Path) -> None:
        os.rename(source, target)
        raise FileNotFoundError(errno.ENOENT, "the server answered twice")

    (tmp_path / "a").write_text("sound")
    move(tmp_path / "a", tmp_path / "b", rename=lost_reply)

    assert names_in(tmp_path) == {"b"}


def test_move_by_link_whose_first_unlink_fails_ends_under_one_name(tmp_path: Path) -> None:
    def interrupted(source: Path, target: Path) -> None:
        os.link(source, target)
        raise OSError(errno.EIO, "the share hiccuped")

    (tmp_path / "a").write_text("sound")
    move(tmp_path / "a", tmp_path / "b", rename=interrupted)

    assert names_in(tmp_path) == {"b"}


@RENAMES
def test_move_to_its_own_name_keeps_the_file(tmp_path: Path, rename: Rename) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"sound")

    move(path, path, rename=rename)
    finish_move(path, path)

    assert path.read_bytes() == b"sound"


def test_move_that_really_failed_raises_and_keeps_the_source(tmp_path: Path) -> None:
    def broken(_source: Path, _target: Path) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    (tmp_path / "a").write_text("sound")

    with pytest.raises(OSError, match="broken"):
        move(tmp_path / "a", tmp_path / "b", rename=broken)
    assert names_in(tmp_path) == {"a"}


def test_move_between_mounts_is_refused_and_keeps_the_source(fs: FakeFilesystem) -> None:
    fs.add_mount_point("/other")
    fs.create_file("/here/a.wav", contents="sound")

    with pytest.raises(OSError) as caught:
        move(Path("/here/a.wav"), Path("/other/a.wav"), rename=link_noreplace)
    assert caught.value.errno == errno.EXDEV
    assert Path("/here/a.wav").read_text() == "sound"


# --- new files ------------------------------------------------------------------------------


def test_write_new_to_a_free_name_writes_it_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_new(tmp_path / "a.txt", [b"words"], staging=tmp_path)

    assert names_in(tmp_path) == {"a.txt"}
    assert (tmp_path / "a.txt").read_bytes() == b"words"


def test_write_new_of_equal_content_counts_as_done(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"words")
    write_new(tmp_path / "a.txt", [b"words"], staging=tmp_path)

    assert names_in(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("there", [b"other", b"WORDS", b""])
def test_write_new_over_other_content_is_refused_and_leaves_it(tmp_path: Path, there: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(there)

    with pytest.raises(NameTaken):
        write_new(tmp_path / "a.txt", [b"words"], staging=tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == there
    assert names_in(tmp_path) == {"a.txt"}


def test_write_new_over_a_link_to_equal_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"words")
    (tmp_path / "a.txt").symlink_to("real")

    with pytest.raises(NameTaken):
        write_new(tmp_path / "a.txt", [b"words"], staging=tmp_path)


def test_write_new_over_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()

    with pytest.raises(NameTaken):
        write_new(tmp_path / "a.txt", [b"words"], staging=tmp_path)


def test_write_new_syncs_the_content_before_it_has_its_name(syncs: Syncs, tmp_path: Path) -> None:
    write_new(syncs.watched, [b"words"], staging=tmp_path)

    assert [path.name[: len(TEMPORARY_PREFIX)] for path in syncs.paths] == [TEMPORARY_PREFIX, "there"]
    assert syncs.existed == [False, True]


def test_write_new_of_equal_content_syncs_what_is_there(syncs: Syncs, tmp_path: Path) -> None:
    syncs.watched.write_bytes(b"words")
    write_new(syncs.watched, [b"words"], staging=tmp_path)

    assert syncs.paths[-2:] == [syncs.watched, syncs.watched.parent]


def test_write_new_whose_sync_fails_throws_the_file_away_and_never_syncs_it_again(syncs: Syncs, tmp_path: Path) -> None:
    syncs.fault = lambda path: OSError(errno.EIO, "lost pages") if path.name.startswith(TEMPORARY_PREFIX) else None

    with pytest.raises(OSError, match="lost pages"):
        write_new(syncs.watched, [b"words"], staging=tmp_path)
    assert len(syncs.paths) == 1
    assert names_in(tmp_path) == {"there"}
    assert names_in(tmp_path / "there") == set()


@pytest.mark.parametrize(("write", "content"), [(write_new, [b"w" * 1000]), (write_replace, b"w" * 1000)])
def test_write_on_a_full_disk_leaves_nothing(fs: FakeFilesystem, write: Callable[..., None], content: Any) -> None:
    fs.create_dir("/spool")
    fs.set_disk_usage(100)

    with pytest.raises(OSError) as caught:
        write(Path("/spool/a.txt"), content, staging=Path("/spool"))
    assert caught.value.errno == errno.ENOSPC
    assert names_in(Path("/spool")) == set()


def test_write_new_by_link_to_a_taken_name_is_refused(fs: FakeFilesystem) -> None:
    fs.create_file("/spool/a.txt", contents="theirs")

    with pytest.raises(NameTaken):
        write_new(Path("/spool/a.txt"), [b"mine"], staging=Path("/spool"), rename=link_noreplace)
    assert names_in(Path("/spool")) == {"a.txt"}


# --- replacing our own ------------------------------------------------------------------------


def test_write_replace_gives_the_new_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        write_replace(tmp_path / "a.json", content, staging=tmp_path)

    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert names_in(tmp_path) == {"a.json"}


def test_write_replace_syncs_content_then_folder(syncs: Syncs, tmp_path: Path) -> None:
    write_replace(syncs.watched, b"words", staging=tmp_path)

    assert syncs.existed == [False, True]
    assert syncs.paths[1] == syncs.watched.parent


def test_write_replace_on_a_full_disk_keeps_the_old_content(fs: FakeFilesystem) -> None:
    fs.set_disk_usage(100)
    fs.create_file("/spool/a.json", contents="old")

    with pytest.raises(OSError, match="No space"):
        write_replace(Path("/spool/a.json"), b"w" * 1000, staging=Path("/spool"))
    assert Path("/spool/a.json").read_text() == "old"
    assert names_in(Path("/spool")) == {"a.json"}


def test_write_replace_over_a_folder_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()

    with pytest.raises(IsADirectoryError):
        write_replace(tmp_path / "a.json", b"words", staging=tmp_path)
    assert names_in(tmp_path) == {"a.json"}


# --- folders and syncs --------------------------------------------------------------------------


def test_make_dirs_syncs_the_parent_of_each_folder_that_it_makes(syncs: Syncs, tmp_path: Path) -> None:
    make_dirs(tmp_path / "a" / "b" / "c")

    assert syncs.paths == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_make_dirs_of_an_existing_folder_does_nothing(syncs: Syncs, tmp_path: Path) -> None:
    make_dirs(tmp_path)

    assert syncs.paths == []


def test_make_dirs_under_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("sound")

    with pytest.raises(FileExistsError):
        make_dirs(tmp_path / "a.wav")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        make_dirs(tmp_path / "a.wav" / "b")


def test_make_dirs_never_makes_the_folder_below_which_it_works(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_dirs(tmp_path / "room" / "a" / "b", below=tmp_path / "room")

    assert list(tmp_path.iterdir()) == []


def test_finish_move_syncs_the_source_folder_first_although_the_rename_was_done_long_ago(
    syncs: Syncs, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "b" / "talk").write_text("sound")

    finish_move(tmp_path / "a" / "talk", tmp_path / "b" / "talk")

    assert syncs.paths == [tmp_path / "a", tmp_path / "b"]


def test_move_by_link_makes_the_new_name_durable_before_the_old_one_goes(syncs: Syncs, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    source = syncs.watched = tmp_path / "old" / "talk"
    source.write_text("sound")

    move(source, tmp_path / "there" / "talk", rename=link_noreplace)

    assert (syncs.paths[0], syncs.existed[0]) == (tmp_path / "there", True)
    assert (syncs.paths[1], syncs.existed[1]) == (tmp_path / "old", False)


def test_move_by_link_whose_new_name_can_not_be_made_durable_takes_it_back(syncs: Syncs, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "talk").write_text("sound")
    syncs.fault = lambda path: OSError(errno.EIO, "I/O error") if path.name == "there" else None

    with pytest.raises(OSError, match="I/O error"):
        move(tmp_path / "old" / "talk", tmp_path / "there" / "talk", rename=link_noreplace)

    assert (names_in(tmp_path / "old"), names_in(tmp_path / "there")) == ({"talk"}, set())


def test_finish_move_of_a_half_link_makes_the_new_name_durable_before_the_old_one_goes(
    syncs: Syncs, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    source = syncs.watched = tmp_path / "old" / "talk"
    source.write_text("sound")
    (tmp_path / "there" / "talk").hardlink_to(source)

    finish_move(source, tmp_path / "there" / "talk")

    assert (syncs.paths[0], syncs.existed[0]) == (tmp_path / "there", True)
    assert not source.exists()


def test_finish_move_takes_the_old_name_of_the_same_file_away(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("sound")
    (tmp_path / "new").hardlink_to(tmp_path / "old")

    finish_move(tmp_path / "old", tmp_path / "new")

    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_finish_move_leaves_another_file_at_the_old_name_alone(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("a newer recording")
    (tmp_path / "new").write_text("sound")

    finish_move(tmp_path / "old", tmp_path / "new")

    assert (tmp_path / "old").read_text() == "a newer recording"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_sync_dir_where_folders_can_not_be_synced_is_left_in_peace(syncs: Syncs, tmp_path: Path, number: int) -> None:
    syncs.fault = lambda _: OSError(number, "not here")
    sync_dir(tmp_path)

    assert syncs.paths == [tmp_path]


def test_sync_dir_that_fails_for_another_reason_is_told(syncs: Syncs, tmp_path: Path) -> None:
    syncs.fault = lambda _: OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        sync_dir(tmp_path)


def test_sync_file_of_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/etc/hostname")

    with pytest.raises(OSError) as caught:
        sync_file(tmp_path / "a")
    assert caught.value.errno == errno.ELOOP
