"""Put a job's transcript into the outbox in every format asked for, whole and without replacing anything.

The sidecar is not written here: it is the commit marker, and its writer comes last.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cesar_watch.core.durable import make_dirs, write_new
from cesar_watch.core.errors import NameTaken
from cesar_watch.core.job import Job
from cesar_watch.core.spool import Spool
from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats import render
from cesar_watch.delivery.formats.about import About, Style
from cesar_watch.delivery.names import output_name


def publish(spool: Spool, job: Job, transcript: Transcript) -> dict[str, str]:
    """Make all outputs of a job appear; return name and SHA-256 of each, in the order of the job's formats.

    Survives a power cut after return. Equal content in place counts as done, so that a repeat after a
    crash is harmless.

    Raises:
        NameTaken: A name exists with other content; it was left alone. Unless it came up during the
            call itself, nothing was written.
        OSError: Disk full, read-only, share gone. Outputs written before it stay, each whole.
    """
    folder, output = spool.output_dir(job), job.options["output"]
    about, style = About.of(job), Style.of(output)
    targets = {fmt: folder / output_name(job.base, fmt) for fmt in output["formats"]}
    for fmt, target in targets.items():
        if _holds_other(target, render(transcript, fmt, about, style)):
            raise NameTaken(f"{target} exists already and is not ours; move it away.")
    make_dirs(folder, below=spool.outbox)
    hashes = {}
    for fmt, target in targets.items():
        digest = hashlib.sha256()
        content = _hashed(render(transcript, fmt, about, style), digest.update)
        write_new(target, content, staging=spool.job_dir(job.job_id), rename=spool.rename)
        hashes[target.name] = digest.hexdigest()
    return hashes


def _hashed(content: Iterable[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in content:
        update(piece)
        yield piece


def _holds_other(target: Path, content: Iterable[bytes]) -> bool:
    if not os.path.lexists(target):
        return False
    if target.is_symlink() or not target.is_file():
        return True
    with target.open("rb") as there:
        return any(there.read(len(piece)) != piece for piece in content) or there.read(1) != b""
