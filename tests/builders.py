"""Values for tests, complete and valid, of which a test names only what it is about."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cesar_watch.core.durable import Rename, rename_noreplace
from cesar_watch.core.job import FileIdentity, Job, State
from cesar_watch.core.ledger import Ledger
from cesar_watch.core.spool import ROOMS, Spool
from cesar_watch.core.transcript import Segment, Transcript, Window, Word
from cesar_watch.delivery.formats.about import About
from cesar_watch.speech.measured import Figure

CORES = len(os.sched_getaffinity(0))
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make_job(**changes: Any) -> Job:
    """Return a job whose recording `talk.mp3` is being worked on."""
    fields: dict[str, Any] = {
        "seq": 1,
        "job_id": "0123456789abcdef",
        "state": State.PROCESSING,
        "name": b"talk.mp3",
        "subfolder": b"",
        "base": "talk",
        "source": b"processing/host/0123456789abcdef/talk.mp3",
        "moving_to": None,
        "identity": FileIdentity(device=1, inode=2, size_bytes=3000, mtime_ns=4),
        "sha256": "ab" * 32,
        "options": {"engine": {"model": "demo"}, "output": {"formats": ["txt", "srt"]}},
        "attempts": 1,
        "lease": "lease",
        "request": None,
        "not_before_at": None,
        "created_at": NOW,
        "started_at": NOW,
        "updated_at": NOW,
        "completed_at": None,
        "estimated_completion_at": None,
        "progress": 0.0,
        "message": "",
        "duration_s": None,
        "language": None,
        "language_probability": None,
        "rtf": None,
        "quality": None,
    }
    return Job(**(fields | changes))


def make_about(**changes: Any) -> About:
    """Return the facts of the recording `talk.mp3`."""
    fields = {"job_id": "0123456789abcdef", "name": "talk.mp3", "recorded_at": NOW, "model": "demo"}
    return About(**(fields | changes))


def figure(**changes: Any) -> Figure:
    """Return a figure that was measured on a machine like this one."""
    usual = {
        "model": "small",
        "asked_device": "auto",
        "asked_compute_type": "default",
        "device": "cpu",
        "compute_type": "int8_float32",
        "batch_size": 1,
        "cores": CORES,
        "workers": 3,
        "threads": 5,
        "rtf": 0.1,
        "peak_bytes": 500_000_000,
        "measured_at": "2026-03-01T12:00:00Z",
    }
    return Figure.model_validate(usual | changes)


def make_segment(
    start_s: float, end_s: float, text: str, words: tuple[Word, ...] = (), *, speaker: str | None = None
) -> Segment:
    """Return a stretch of speech with unremarkable quality figures."""
    return Segment(
        start_s=start_s,
        end_s=end_s,
        text=text,
        avg_logprob=-0.25,
        no_speech_prob=0.01,
        compression_ratio=1.5,
        words=words,
        speaker=speaker,
    )


def make_word(start_s: float, end_s: float, text: str) -> Word:
    """Return a word that the model was quite sure of."""
    return Word(start_s=start_s, end_s=end_s, text=text, probability=0.9)


def make_transcript(*segments: Segment, duration_s: float = 60.0, language: str | None = "en") -> Transcript:
    """Return a transcript of one window; without segments, that of a recording in which nobody speaks."""
    window = Window(
        index=0,
        start_s=0.0,
        end_s=duration_s,
        speech_s=sum(segment.end_s - segment.start_s for segment in segments),
        language=language,
        language_probability=0.98 if language else None,
        segments=segments,
    )
    return Transcript(duration_s=duration_s, declared_s=duration_s, skipped_packets=0, windows=(window,))


def lease_next(ledger: Ledger, lease: str, now: datetime, longest_wait_s: float = math.inf) -> Job | None:
    """Lease the job that comes first, or the next one where somebody was faster; None where none is due."""
    while due := ledger.next_due(now, longest_wait_s):
        if job := ledger.lease(due, lease, now):
            return job
    return None


def make_spool(root: Path, *, job: Job | None = None, rename: Rename = rename_noreplace) -> Spool:
    """Make the rooms under `root` and, for a job, its folder; return the spool."""
    spool = Spool(root=root, instance="host", spool_id="spool", rename=rename)
    for room in ROOMS:
        (root / room).mkdir(parents=True)
    spool.processing.mkdir()
    if job is not None:
        spool.job_dir(job.job_id).mkdir()
    return spool
