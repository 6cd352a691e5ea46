"""Keep the transcripts of completed jobs in the state directory, so that other formats can be made without decoding.

A job's folder goes with its end, and its checkpoint with that; this is what is left of it: a small file a job, gzip
around JSON, with what is known of the recording beside it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from cesar_watch.core.durable import make_dirs, sync_dir, write_replace
from cesar_watch.core.errors import UsageError
from cesar_watch.core.job import Job
from cesar_watch.core.transcript import Transcript, Value, Window
from cesar_watch.delivery.formats.about import About

FOLDER = "transcripts"
"""Its name in the state directory."""


@dataclass(frozen=True)
class Kept:
    """What is kept of a job: all that its outputs are made of but how they look."""

    about: About
    transcript: Transcript


class _Whole(Value):
    duration_s: float
    declared_s: float | None
    skipped_packets: int
    windows: tuple[Window, ...] = ()


class _File(Value):
    schema_version: Literal[1] = 1
    about: About
    transcript: _Whole


def kept_path(state_dir: Path, job_id: str) -> Path:
    """Return where a job's transcript is kept."""
    return state_dir / FOLDER / f"{job_id}.json.gz"


def keep(state_dir: Path, job: Job, transcript: Transcript) -> None:
    """Keep a job's transcript; survives a power cut after return. Repeating it after a crash is harmless.

    Raises:
        OSError: The state directory can't be written. What was kept of the job before stays.
    """
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as stream:
        stream.writelines(_pieces(About.of(job), transcript))
    path = kept_path(state_dir, job.job_id)
    make_dirs(path.parent, below=state_dir)
    # Staged where a start sweeps what a dead process left.
    write_replace(path, packed.getvalue(), staging=state_dir)


def _pieces(about: About, transcript: Transcript) -> Iterator[bytes]:
    """Yield the JSON of what is kept, a window at a time."""
    whole = _Whole(
        duration_s=transcript.duration_s,
        declared_s=transcript.declared_s,
        skipped_packets=transcript.skipped_packets,
    )
    end = "]}}"
    yield _File(about=about, transcript=whole).model_dump_json().removesuffix(end).encode()
    for number, window in enumerate(transcript.windows):
        yield ("," if number else "").encode() + window.model_dump_json().encode()
    yield end.encode()


def read_kept(state_dir: Path, job_id: str) -> Kept | None:
    """Return what is kept of a job; None if nothing is.

    Raises:
        UsageError: It is damaged, or can't be read.
    """
    path = kept_path(state_dir, job_id)
    try:
        kept = _File.model_validate_json(gzip.decompress(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (EOFError, zlib.error, gzip.BadGzipFile, ValidationError):
        raise UsageError(f"{path} is damaged: restore it from a backup.", reason="kept_damaged") from None
    except OSError as fault:
        raise UsageError(f"{path} can't be read: {fault.strerror}.", reason="kept_unreadable") from None
    whole = kept.transcript
    return Kept(kept.about, Transcript(whole.duration_s, whole.declared_s, whole.skipped_packets, whole.windows))


def forget(state_dir: Path, job_id: str) -> None:
    """Remove what is kept of a job, durably; nothing is fine too.

    Raises:
        OSError: It can't be removed.
    """
    path = kept_path(state_dir, job_id)
    if path.exists():
        path.unlink()
        sync_dir(path.parent)
