"""The spool: its marker, the proof that it is one mount, and where recordings come to rest."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from cesar_watch.core.durable import link_noreplace
from cesar_watch.core.errors import Kind, SpoolError
from cesar_watch.core.spool import MARKER, ROOMS, Spool, create_spool, read_marker
from tests.builders import make_job, make_spool


def files_under(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if not path.is_dir()}


def opened(root: Path) -> Spool:
    return Spool(root=root, instance="host", spool_id=create_spool(root))


# --- marker -------------------------------------------------------------------------------


def test_create_makes_every_room_and_the_marker(tmp_path: Path) -> None:
    spool_id = create_spool(tmp_path / "deep" / "spool")

    assert {path.name for path in (tmp_path / "deep" / "spool").iterdir()} == {*ROOMS, MARKER}
    assert read_marker(tmp_path / "deep" / "spool") == spool_id


def test_create_twice_keeps_the_id_and_the_files(tmp_path: Path) -> None:
    first = create_spool(tmp_path)
    (tmp_path / "inbox" / "talk.mp3").write_text("sound")

    assert create_spool(tmp_path) == first
    assert files_under(tmp_path) == {tmp_path / MARKER, tmp_path / "inbox" / "talk.mp3"}


def test_create_makes_a_lost_room_again(tmp_path: Path) -> None:
    create_spool(tmp_path)
    (tmp_path / "outbox").rmdir()
    create_spool(tmp_path)

    assert (tmp_path / "outbox").is_dir()


def test_create_gives_two_spools_two_ids(tmp_path: Path) -> None:
    assert create_spool(tmp_path / "a") != create_spool(tmp_path / "b")


def test_create_by_several_at_once_agrees_on_one_id(tmp_path: Path) -> None:
    for turn in range(10):
        barrier = threading.Barrier(4)
        ids: set[str] = set()

        def make(root: Path, barrier: threading.Barrier = barrier, ids: set[str] = ids) -> None:
            barrier.wait(10)
            ids.add(create_spool(root))

        threads = [threading.Thread(target=make, args=(tmp_path / str(turn),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert ids == {read_marker(tmp_path / str(turn))}


def test_create_where_a_file_has_a_rooms_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("not a folder")

    with pytest.raises(SpoolError):
        create_spool(tmp_path)
    assert not (tmp_path / MARKER).exists()


def test_marker_that_is_missing_means_the_share_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="mount the share") as caught:
        read_marker(tmp_path)
    assert (caught.value.reason, caught.value.kind) == ("spool_missing", Kind.SYSTEMIC)


def test_marker_below_a_file_says_that_it_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SpoolError, match="not a folder") as caught:
        read_marker(tmp_path / "file")
    assert caught.value.reason == "spool_missing"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"made_by": "x"}', b"\xff\xfe", b"null"])
def test_marker_that_is_damaged_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARKER).write_bytes(content)

    with pytest.raises(SpoolError) as caught:
        read_marker(tmp_path)
    assert caught.value.reason == "marker_damaged"
    assert (tmp_path / MARKER).read_bytes() == content


def test_marker_that_is_damaged_is_not_replaced_by_create(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_bytes(b"{")

    with pytest.raises(SpoolError):
        create_spool(tmp_path)
    assert (tmp_path / MARKER).read_bytes() == b"{"


def test_check_of_the_spool_that_was_opened_is_content(tmp_path: Path) -> None:
    opened(tmp_path).check()


def test_check_after_another_spool_was_mounted_refuses(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    (tmp_path / MARKER).unlink()
    create_spool(tmp_path)

    with pytest.raises(SpoolError) as caught:
        spool.check()
    assert caught.value.reason == "spool_changed"


def test_check_after_the_share_went_away_refuses_and_writes_nothing(tmp_path: Path) -> None:
    spool = Spool(root=tmp_path / "mnt", instance="host", spool_id="1")
    spool.root.mkdir()

    with pytest.raises(SpoolError) as caught:
        spool.check()
    assert caught.value.reason == "spool_missing"
    assert list(spool.root.iterdir()) == []


# --- one mount ------------------------------------------------------------------------------


def test_prove_one_mount_leaves_nothing_behind(tmp_path: Path) -> None:
    opened(tmp_path).prove_one_mount()

    assert files_under(tmp_path) == {tmp_path / MARKER}


@pytest.mark.parametrize("room", ROOMS)
def test_prove_one_mount_with_a_room_elsewhere_names_docker_and_leaves_nothing(fs: FakeFilesystem, room: str) -> None:
    spool = make_spool(Path("/spool"), rename=link_noreplace)
    for folder in ("/spool/processing/host", f"/spool/{room}"):
        if Path(folder).is_relative_to(f"/spool/{room}"):
            Path(folder).rmdir()
    fs.add_mount_point(f"/spool/{room}")

    with pytest.raises(SpoolError, match="Docker") as caught:
        spool.prove_one_mount()
    assert caught.value.reason == "spool_split"
    assert files_under(Path("/spool")) == set()


def test_prove_one_mount_on_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left", str(target))

    spool = make_spool(tmp_path / "spool", rename=full)

    with pytest.raises(SpoolError) as caught:
        spool.prove_one_mount()
    assert caught.value.reason == "disk_full"
    assert files_under(spool.root) == set()


@pytest.mark.parametrize("room", ROOMS)
def test_prove_one_mount_without_a_room_asks_for_init_and_makes_nothing(tmp_path: Path, room: str) -> None:
    spool = opened(tmp_path)
    (tmp_path / room).rmdir()

    with pytest.raises(SpoolError, match="init") as caught:
        spool.prove_one_mount()
    assert caught.value.reason == "spool_missing"
    assert not (tmp_path / room).exists()
    assert files_under(tmp_path) == {tmp_path / MARKER}


def test_prove_one_mount_where_processing_is_a_file_is_told(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    (tmp_path / "processing").rmdir()
    (tmp_path / "processing").write_text("")

    with pytest.raises(SpoolError):
        spool.prove_one_mount()


def test_prove_one_mount_takes_away_what_a_killed_proof_left_and_nobody_elses(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    left, foreign = tmp_path / "outbox" / ".cesar-probe-host-1234", tmp_path / "outbox" / ".cesar-probe-other-1234"
    left.touch()
    foreign.touch()
    spool.prove_one_mount()

    assert (left.exists(), foreign.exists()) == (False, True)


def test_prove_by_several_threads_at_once_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    barrier = threading.Barrier(4)
    faults: list[SpoolError] = []

    def prove() -> None:
        barrier.wait()
        for _ in range(20):
            try:
                spool.prove()
            except SpoolError as fault:
                faults.append(fault)

    threads = [threading.Thread(target=prove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert files_under(tmp_path) == {tmp_path / MARKER}


def test_prove_makes_the_instances_own_folder_again_that_somebody_tidied_away(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.prove()

    assert spool.processing.is_dir()


def test_holds_believes_that_something_is_gone_only_where_the_spool_is_there(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    path = spool.inbox / "talk.mp3"

    assert not spool.holds(path)
    path.symlink_to("nowhere")
    assert spool.holds(path)
    path.unlink()
    (tmp_path / MARKER).unlink()
    with pytest.raises(SpoolError) as caught:
        spool.holds(path)
    assert caught.value.reason == "spool_missing"


def test_prove_in_an_empty_mount_point_makes_nothing(tmp_path: Path) -> None:
    spool = Spool(root=tmp_path, instance="host", spool_id="spool")

    with pytest.raises(SpoolError) as caught:
        spool.prove()
    assert caught.value.reason == "spool_missing"
    assert list(tmp_path.iterdir()) == []


# --- paths ----------------------------------------------------------------------------------


def test_relative_and_absolute_undo_each_other_for_any_bytes(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    path = spool.inbox / os.fsdecode(b"caf\xe9\n.mp3")

    assert spool.relative(path) == b"inbox/caf\xe9\n.mp3"
    assert spool.absolute(spool.relative(path)) == path


def test_output_dir_mirrors_the_subfolder(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")

    assert spool.output_dir(make_job(subfolder=b"radio/monday")) == spool.outbox / "radio" / "monday"


# --- resting places ---------------------------------------------------------------------------


def test_resting_place_of_a_free_name_is_that_name(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")

    assert spool.resting_place("archive", make_job()) == spool.root / "archive" / "talk.mp3"


def test_resting_place_of_a_taken_name_is_numbered(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    for name in ("talk.mp3", "talk-2.mp3"):
        (spool.root / "archive" / name).touch()

    assert spool.resting_place("archive", make_job()).name == "talk-3.mp3"


def test_resting_place_counts_a_dangling_link_as_taken(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    (spool.root / "archive" / "talk.mp3").symlink_to("nowhere")

    assert spool.resting_place("archive", make_job()).name == "talk-2.mp3"


def test_resting_place_whose_companion_is_taken_is_numbered(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    (spool.root / "failed" / "talk.mp3.reason.txt").touch()
    place = spool.resting_place(
        "failed", make_job(), companions=[lambda path: path.with_name(path.name + ".reason.txt")]
    )

    assert place.name == "talk-2.mp3"


def test_resting_place_makes_the_mirrored_subfolder(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    place = spool.resting_place("archive", make_job(subfolder=b"radio/monday"))

    assert place == spool.root / "archive" / "radio" / "monday" / "talk.mp3"
    assert place.parent.is_dir()


def test_resting_place_where_a_recording_has_the_subfolders_name_is_beside_it(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    (spool.root / "archive" / "day.wav").touch()
    place = spool.resting_place("archive", make_job(subfolder=b"day.wav/noon"))

    assert place == spool.root / "archive" / "day-2.wav" / "noon" / "talk.mp3"
    assert place.parent.is_dir()


@pytest.mark.parametrize("letter", ["x", "č", "🎙"])
def test_resting_place_of_the_longest_name_is_numbered_within_255_bytes(tmp_path: Path, letter: str) -> None:
    spool = make_spool(tmp_path / "spool")
    name = letter.encode() * (251 // len(letter.encode())) + b".mp3"
    (spool.root / "archive" / name.decode()).touch()
    place = spool.resting_place("archive", make_job(name=name))
    place.touch()

    assert 250 <= len(os.fsencode(place.name)) <= 255
    assert place.name.endswith("-2.mp3")
    assert place.name.encode("utf-8")  # no letter was cut in two


def test_resting_place_of_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    (spool.root / "archive" / os.fsdecode(b"\xe9\x80\x80.mp3")).touch()

    assert os.fsencode(spool.resting_place("archive", make_job(name=b"\xe9\x80\x80.mp3")).name) == b"\xe9\x80\x80-2.mp3"


def test_move_between_rooms_brings_the_content(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    (spool.inbox / "a.wav").write_text("sound")
    spool.move(spool.inbox / "a.wav", spool.outbox / "a.wav")

    assert files_under(spool.root) == {spool.outbox / "a.wav"}
    assert (spool.outbox / "a.wav").read_text() == "sound"


def test_move_to_a_taken_name_leaves_both_files(fs: FakeFilesystem) -> None:
    spool = make_spool(Path("/spool"), rename=link_noreplace)
    fs.create_file("/spool/inbox/a.wav", contents="mine")
    fs.create_file("/spool/archive/a.wav", contents="theirs")

    with pytest.raises(FileExistsError):
        spool.move(spool.inbox / "a.wav", spool.root / "archive" / "a.wav")
    assert (spool.inbox / "a.wav").read_text() == "mine"
    assert (spool.root / "archive" / "a.wav").read_text() == "theirs"
