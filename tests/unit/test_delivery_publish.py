"""Outputs appear whole, once, and never in another's place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from cesar_watch.core.durable import link_noreplace
from cesar_watch.core.errors import NameTaken
from cesar_watch.core.recording_settings import Format
from cesar_watch.core.spool import Spool
from cesar_watch.delivery.formats import render
from cesar_watch.delivery.formats.about import About, Style
from cesar_watch.delivery.publish import publish
from tests.builders import make_job, make_segment, make_spool, make_transcript, make_word
from tests.transcripts import PassingWindows

JOB = make_job(options={"output": {"formats": ["srt", "txt", "json"]}})
TRANSCRIPT = make_transcript(make_segment(0, 1, "Hello."))


@pytest.fixture
def spool(fs: FakeFilesystem) -> Spool:
    return make_spool(Path("/spool"), job=JOB, rename=link_noreplace)


def rendered(fmt: Format) -> bytes:
    return b"".join(render(TRANSCRIPT, fmt, About.of(JOB), Style()))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_publish_writes_every_format_and_names_them_in_order(spool: Spool) -> None:
    assert list(publish(spool, JOB, TRANSCRIPT)) == ["talk.srt", "talk.txt", "talk.json"]

    assert (spool.outbox / "talk.srt").read_bytes() == rendered("srt")
    assert (spool.outbox / "talk.txt").read_bytes() == rendered("txt")
    assert (spool.outbox / "talk.json").read_bytes() == rendered("json")


def test_publish_gives_the_hash_of_each_output_as_it_lies_there(spool: Spool) -> None:
    hashes = publish(spool, JOB, TRANSCRIPT)

    assert hashes == {name: hashlib.sha256((spool.outbox / name).read_bytes()).hexdigest() for name in hashes}


def test_publish_to_a_free_name_renders_once(spool: Spool) -> None:
    windows = PassingWindows(3)

    publish(spool, make_job(options={"output": {"formats": ["srt"]}}), windows.transcript)

    assert windows.passes == 1


def test_publish_makes_outputs_look_as_the_job_says(spool: Spool) -> None:
    words = (make_word(0, 0.5, " Good"), make_word(0.5, 1, " morning."))
    output = {"formats": ["srt", "md"], "highlight_words": True, "md_template": "{title}: {text}"}

    publish(spool, make_job(options={"output": output}), make_transcript(make_segment(0, 1, "Good morning.", words)))

    assert "<u>Good</u>" in (spool.outbox / "talk.srt").read_text()
    assert (spool.outbox / "talk.md").read_text() == "talk: Good morning."


def test_publish_again_gives_the_same_hashes(spool: Spool) -> None:
    assert publish(spool, JOB, TRANSCRIPT) == publish(spool, JOB, TRANSCRIPT)


def test_publish_of_a_recording_from_a_subfolder_mirrors_it(spool: Spool) -> None:
    publish(spool, make_job(subfolder=b"radio/monday"), TRANSCRIPT)

    assert names_in(spool.outbox / "radio" / "monday") == {"talk.txt", "talk.srt"}


def test_publish_leaves_no_temporary_file(spool: Spool) -> None:
    publish(spool, JOB, TRANSCRIPT)

    assert names_in(spool.job_dir(JOB.job_id)) == set()


def test_publish_does_not_write_the_commit_marker(spool: Spool) -> None:
    publish(spool, JOB, TRANSCRIPT)

    assert not (spool.outbox / "talk.status.json").exists()


def test_publish_after_a_crash_between_outputs_completes_them(spool: Spool) -> None:
    (spool.outbox / "talk.srt").write_bytes(rendered("srt"))

    assert list(publish(spool, JOB, TRANSCRIPT)) == ["talk.srt", "talk.txt", "talk.json"]
    assert names_in(spool.outbox) == {"talk.srt", "talk.txt", "talk.json"}


def test_publish_twice_changes_nothing(spool: Spool) -> None:
    publish(spool, JOB, TRANSCRIPT)
    before = (spool.outbox / "talk.txt").stat().st_ino

    publish(spool, JOB, TRANSCRIPT)

    assert (spool.outbox / "talk.txt").stat().st_ino == before


@pytest.mark.parametrize("content", [b"someone's", b"Jello.\n"])
def test_publish_onto_a_taken_name_writes_nothing_at_all(spool: Spool, content: bytes) -> None:
    (spool.outbox / "talk.txt").write_bytes(content)

    with pytest.raises(NameTaken, match=r"talk\.txt"):
        publish(spool, JOB, TRANSCRIPT)

    assert names_in(spool.outbox) == {"talk.txt"}
    assert (spool.outbox / "talk.txt").read_bytes() == content


def test_publish_onto_a_link_with_equal_content_leaves_it_alone(spool: Spool) -> None:
    elsewhere = spool.root / "elsewhere.txt"
    elsewhere.write_bytes(rendered("txt"))
    (spool.outbox / "talk.txt").symlink_to(elsewhere)

    with pytest.raises(NameTaken):
        publish(spool, JOB, TRANSCRIPT)

    assert (spool.outbox / "talk.txt").is_symlink()


def test_publish_onto_a_folder_of_that_name_is_refused(spool: Spool) -> None:
    (spool.outbox / "talk.json").mkdir()

    with pytest.raises(NameTaken):
        publish(spool, JOB, TRANSCRIPT)


def test_publish_on_a_full_disk_leaves_no_half_output(fs: FakeFilesystem, spool: Spool) -> None:
    fs.set_disk_usage(fs.get_disk_usage()[1] + 8)

    with pytest.raises(OSError, match="No space left"):
        publish(spool, JOB, make_transcript(make_segment(0, 1, "A long sentence. " * 500)))

    assert names_in(spool.outbox) == set()
    assert names_in(spool.job_dir(JOB.job_id)) == set()
