"""Other formats of a transcript, made by the command long after the job ended; in real processes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cesar_watch.core.job import Job, State
from tests.fakes import FakeEngine
from tests.processes import command
from tests.service_builders import Rig, open_rig

FORMATS = ["txt", "srt", "vtt", "json", "tsv", "lrc", "md"]


def transcribe(rig: Rig, name: str, content: bytes) -> None:
    rig.drop(name, content)
    rig.claim_all()
    rig.work()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A stopped spool: one recording completed, a copy of it, and one that waits."""
    assert command("init", "spool", cwd=tmp_path).returncode == 0
    with open_rig(tmp_path / "spool", FakeEngine(), output={"formats": FORMATS}) as rig:
        transcribe(rig, "talk.mp3", b"sound")
        transcribe(rig, "copy.mp3", b"sound")
        rig.drop("later.mp3")
        rig.claim_all()
    return tmp_path / "spool"


def job(spool: Path, name: str) -> Job:
    with open_rig(spool, FakeEngine()) as rig:
        return next(job for job in rig.house.ledger.jobs() if job.display_name == name)


def export(spool: Path, name: str, *words: str) -> CompletedProcess[str]:
    return command("export", job(spool, name).job_id[:6], *words, cwd=spool.parent)


def assert_refused(done: CompletedProcess[str], told: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"cesar-watch: [^\n]*{told}[^\n]*\n", done.stderr)


@pytest.mark.parametrize("fmt", FORMATS)
def test_export_gives_the_bytes_that_were_published(spool: Path, fmt: str) -> None:
    done = export(spool, "talk.mp3", "--format", fmt)

    assert done.stdout == (spool / "outbox" / f"talk.{fmt}").read_text()


def test_export_decodes_nothing_and_needs_no_output(spool: Path) -> None:
    published = (spool / "outbox/talk.srt").read_text()
    shutil.rmtree(spool / "outbox")
    shutil.rmtree(spool / "archive")

    assert export(spool, "talk.mp3", "--format", "srt").stdout == published


def test_export_goes_by_the_settings_of_today(spool: Path) -> None:
    (spool / "note.md").write_text("{title}: {text}")
    with (spool / "config.toml").open("a") as config:
        config.write('\n[output]\nmd_template = "note.md"\n')

    assert export(spool, "talk.mp3", "--format", "md").stdout == "talk: hello\n\nworld"


def test_export_of_a_duplicate_is_the_transcript_of_its_twin(spool: Path) -> None:
    assert job(spool, "copy.mp3").state is State.DUPLICATE

    assert export(spool, "copy.mp3", "--format", "txt").stdout == "hello\n\nworld\n"


def test_export_into_a_folder_makes_it_and_a_file_for_each_format(spool: Path) -> None:
    done = export(spool, "talk.mp3", "--format", "srt", "--format", "md", "--to", "new/folder")

    assert done.stdout.split() == ["new/folder/talk.srt", "new/folder/talk.md"]
    assert sorted(path.name for path in (spool.parent / "new/folder").iterdir()) == ["talk.md", "talk.srt"]


def test_export_into_a_folder_replaces_nothing(spool: Path) -> None:
    (spool.parent / "talk.srt").write_text("mine")

    assert_refused(export(spool, "talk.mp3", "--format", "srt", "--to", "."), "talk.srt exists already")
    assert (spool.parent / "talk.srt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "docx"), "no format 'docx': use one of txt, srt"),
        (("--format", "srt", "--format", "txt"), "--to DIR"),
        (("--format", "srt", "--to", "/proc/export"), "can't be written"),
    ],
)
def test_export_that_can_not_be_done_is_refused_in_a_sentence(spool: Path, words: tuple[str, ...], told: str) -> None:
    assert_refused(export(spool, "talk.mp3", *words), told)


def test_export_of_a_job_that_is_not_completed_is_refused(spool: Path) -> None:
    assert_refused(export(spool, "later.mp3", "--format", "srt"), "is pending: only a completed one")


@pytest.mark.parametrize("name", ["talk.mp3", "copy.mp3"])
def test_export_where_nothing_was_kept_is_refused(spool: Path, name: str) -> None:
    shutil.rmtree(spool / ".state/transcripts")

    assert_refused(export(spool, name, "--format", "srt"), "No transcript of job .* is kept")


def test_deleted_job_takes_its_kept_transcript_along(spool: Path) -> None:
    talk = job(spool, "talk.mp3").job_id

    assert command("delete", talk, "--yes", cwd=spool.parent).returncode == 0

    assert list((spool / ".state/transcripts").iterdir()) == []
