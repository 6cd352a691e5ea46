"""What is noticed of a recording that was cut in half, and of one whose second half is zeros: a table for each format.

`python -m tools.truncation` from the repository's root prints it as Markdown; docs/architecture.md holds the answer.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cesar_watch.core.errors import RecordingError
from cesar_watch.intake.probe import Verdict, probe
from cesar_watch.speech.audio import open_audio
from cesar_watch.speech.quality import missing_s
from tests.corpus import FORMATS, Format, Missing, build


def main() -> None:
    """Print the table, and what could not be made here."""
    print("| recording | by | whole | cut in half | cut and zero-filled |\n|---|---|---|---|---|")
    missing = []
    for one in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                whole = build(one, Path(folder))
            except Missing as fault:
                missing.append(f"{one.name}: {fault}")
                continue
            print(row(one, whole, Path(folder) / f"judged-{one.name}"))
    print("\n".join(missing))


def row(one: Format, whole: bytes, path: Path) -> str:
    """Return what is noticed of one recording."""
    half = whole[: len(whole) // 2]
    filled = half + bytes(len(whole) - len(half))
    cells = [noticed(path, content) for content in (whole, half, filled)]
    return f"| {' | '.join([one.name, one.by, *cells])} |"


def noticed(path: Path, content: bytes) -> str:
    """Return what the probe says of it, or else the length that decoding finds."""
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        verdict: Verdict = probe(descriptor, len(content))
    finally:
        os.close(descriptor)
    return f"{type(verdict).__name__.lower()}, {decoded(path)}"


def decoded(path: Path) -> str:
    """Return what the check after decoding says."""
    try:
        with open_audio(path, max_duration_s=3600) as audio:
            for _ in audio.blocks():
                pass
            lost = missing_s(audio.decoded_s, audio.declared_s)
            told = "?" if audio.declared_s is None else f"{audio.declared_s:.0f}"
            return f"{'**' if lost else ''}{audio.decoded_s:.1f} of {told} s{'**' if lost else ''}"
    except RecordingError as fault:
        return f"**{fault.reason}**"


if __name__ == "__main__":
    main()
