"""Write and read the status sidecar: the one file in the outbox that tells how a recording fares.

Its fields are those of schema 1 (design.md, section 8). It never replaces the sidecar of another job.
"""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cesar_watch.core.durable import make_dirs, write_new, write_replace
from cesar_watch.core.errors import LeaseLost, NameTaken
from cesar_watch.core.job import Job
from cesar_watch.core.spool import Spool

SCHEMA = 1


def sidecar_path(spool: Spool, job: Job) -> Path:
    """Return where the job's sidecar lies: beside its outputs."""
    return spool.output_dir(job) / f"{job.base}.status.json"


def sidecar(job: Job, *, source: bytes | None = None, instance: str | None = None) -> dict[str, Any]:
    """Return the sidecar's fields, in the order in which they are written.

    Args:
        source: Where the recording is to be found, relative to the root, if not at `job.source`: the
            final sidecar is written before the recording is archived.
        instance: Whose job it is; told only in the file, since several instances may share an outbox.
    """
    return {
        "schema": SCHEMA,
        "job_id": job.job_id,
        **({} if instance is None else {"instance": instance}),
        "status": job.state.shown,
        "progress": _percent(job.progress),
        "message": job.message,
        "source": _source(job, job.source if source is None else source),
        "created_at": _rfc3339(job.created_at),
        "started_at": _rfc3339(job.started_at),
        "updated_at": _rfc3339(job.updated_at),
        "completed_at": _rfc3339(job.completed_at),
        "estimated_completion": _rfc3339(job.estimated_completion_at),
        "attempts": job.attempts,
        "language": job.language,
        "language_probability": job.language_probability,
        "duration_s": job.duration_s,
        "model": job.options.get("engine", {}).get("model"),
        "options": job.options,
        "outputs": job.outputs,
        "outputs_sha256": job.outputs_sha256,
        "duplicate_of": job.duplicate_of,
        "rtf": job.rtf,
        "quality": job.quality,
        "error": {"reason": job.error.reason, "message": job.error.message} if job.error else None,
    }


def write_sidecar(spool: Spool, job: Job, *, source: bytes | None = None) -> None:
    """Put the job's present state into its sidecar; readers see the old or the new, never half.

    Survives a power cut after return. Only the job's own worker, or the intake before there is one,
    may call this for a job.

    Raises:
        NameTaken: Another job's sidecar, or a file that is none, has this name; it was left alone.
        LeaseLost: Another instance has the job by now: its folder is not ours, and its sidecar theirs.
        OSError: Disk full, read-only, share gone. The earlier sidecar stays as it was.
    """
    target = sidecar_path(spool, job)
    # "replace": an error message may quote a path that isn't UTF-8, and such text can't be encoded.
    fields = sidecar(job, source=source, instance=spool.instance)
    content = (json.dumps(fields, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "replace")
    folder = spool.job_dir(job.job_id)
    staging = folder if folder.is_dir() else spool.processing
    if not os.path.lexists(target):
        make_dirs(target.parent, below=spool.outbox)
        write_new(target, [content], staging=staging, rename=spool.rename)
        return
    there = read_sidecar(target)
    if there is None or there["job_id"] != job.job_id:
        raise NameTaken(f"{target} exists already and belongs to another job; move it away.")
    if there.get("instance", spool.instance) != spool.instance and not folder.is_dir():
        raise LeaseLost(f"Job {job.job_id} was taken over by instance {there['instance']}.")
    write_replace(target, content, staging=staging)


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Return the fields of a sidecar; None where there is no file, or one that isn't a sidecar of ours.

    Raises:
        OSError: It is there but can't be read.
    """
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(fields, dict) and fields.get("schema") == SCHEMA and isinstance(fields.get("job_id"), str)
    return fields if is_ours else None


def _percent(progress: float) -> int:
    """Return whole percents: 0 for a recording of which nothing was heard yet, and for no other."""
    return max(round(min(progress, 100.0)), 1) if progress > 0 else 0


def _source(job: Job, path: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": job.display_name}
    if job.display_name.encode() != job.name:
        fields["name_b64"] = base64.b64encode(job.name).decode()
    fields["path"] = path.decode("utf-8", "replace")
    if fields["path"].encode() != path:
        fields["path_b64"] = base64.b64encode(path).decode()
    return fields | {
        "size_bytes": job.identity.size_bytes,
        "sha256": job.sha256,
    }


def _rfc3339(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
