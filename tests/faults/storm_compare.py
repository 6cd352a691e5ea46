"""Compare what a real storm left with what an undisturbed run left, from outside."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.checker import Checker
from tests.faults.storm_life import AS_USUAL
from tests.processes import command

MAX_ATTEMPTS = 3
"""The default of retry.max_attempts, which the storm keeps."""

MAY_DIFFER = {
    *("job_id", "instance", "created_at", "started_at", "updated_at", "completed_at"),
    *("attempts", "rtf", "message"),
}
"""Fields of the sidecar that tell of the way a transcript was made (`message` says how long it took)."""


def differences(storm: Path, undisturbed: Path, corpus: Path, kills: int) -> Iterator[str]:
    """Yield everything in which a spool is not as it must be after so many kills.

    Args:
        storm: The spool that was killed on.
        undisturbed: The one that worked the same recordings off in peace.
        corpus: The folder of the recordings.
    """
    if Counter(_hashes(storm / "archive").values()) != Counter(_hashes(corpus).values()):
        yield "archive/ does not hold every recording once"
    for room in ("inbox", "failed", "duplicates"):
        yield from (f"{path.relative_to(storm)} was left" for path in (storm / room).rglob("*"))
    yield from (f"{path.relative_to(storm)} was left" for path in (storm / "processing").glob("*/*"))
    yield from _outputs_differ(storm / "outbox", undisturbed / "outbox")
    yield from _looked_at(storm, undisturbed / "outbox", corpus, kills)
    done = command("verify", "--config", storm / "config.toml", cwd=storm)
    if done.returncode != 0:
        yield f"verify ended with {done.returncode}: {(done.stdout + done.stderr).strip()}"


def _outputs_differ(mine: Path, theirs: Path) -> Iterator[str]:
    one, other = _hashes(mine), _hashes(theirs)
    for name in sorted(one.keys() ^ other.keys()):
        yield f"outbox/{name} is only in {'the storm' if name in one else 'the undisturbed run'}"
    for name in sorted(one.keys() & other.keys()):
        if name.endswith(".status.json"):
            yield from _sidecars_differ(mine / name, theirs / name)
        elif one[name] != other[name]:
            yield f"outbox/{name} is not that of the undisturbed run"


def _looked_at(storm: Path, outbox: Path, corpus: Path, kills: int) -> Iterator[str]:
    """Yield what the independent checker says; there are no channels here, so no notices to be missed."""
    recordings = [
        {
            "name": path.name,
            "sha256": _sha256(path),
            "ends": ["completed"],
            "text": " ".join((outbox / f"{path.stem}.txt").read_text().split()),
        }
        for path in sorted(corpus.iterdir())
    ]
    # An engine that is killed under a living service costs the recording an attempt.
    expected = AS_USUAL | {"recordings": recordings, "own_attempts": MAX_ATTEMPTS - 1}
    checker = Checker()
    try:
        wrong = checker.check(storm, storm / ".state", storm / "nothing-delivered", "R", expected, faults=kills)
    finally:
        checker.close()
    # The person's own configuration lies beside the rooms.
    harmless = ("no notice was queued", "config.toml was made beside the rooms")
    return (f"checker: {words}" for words in wrong if not words.endswith(harmless))


def _sidecars_differ(mine: Path, theirs: Path) -> Iterator[str]:
    one, other = json.loads(mine.read_bytes()), json.loads(theirs.read_bytes())
    for key in sorted(one.keys() | other.keys()):
        if key not in MAY_DIFFER and one.get(key) != other.get(key):
            yield f"{mine.name}: {key} is {one.get(key)!r}, in the undisturbed run {other.get(key)!r}"


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): _sha256(path) for path in folder.rglob("*") if path.is_file()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
