"""Synchronised lyrics (lrc), which music players show line by line: a line for each subtitle."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats.about import About
from cesar_watch.delivery.formats.cues import cues
from cesar_watch.delivery.formats.pieces import text_of
from cesar_watch.delivery.formats.plain import label_of

CLEAR_MS = 2000
"""Before such a silence an empty line takes the last words away: players keep them until the next line."""


def lrc(transcript: Transcript, about: About) -> str:
    """Return the transcript as lyrics; minutes go on beyond 99 in longer recordings."""
    title = about.title.translate({ord("["): "(", ord("]"): ")"})
    length_s = round(transcript.duration_s)
    head = [f"[ti:{title}]", f"[length:{length_s // 60:02}:{length_s % 60:02}]", "[re:cesar-watch]"]
    return "".join(f"{line}\n" for line in (*head, *_lines(transcript)))


def _lines(transcript: Transcript) -> Iterator[str]:
    for cue, following in pairwise(chain(cues(transcript), [None])):
        assert cue is not None, "only the last one has none behind it"
        yield f"[{_time(cue.start_ms)}]{label_of(cue.speaker)}{text_of(cue.pieces)}"
        if following is None or following.start_ms - cue.end_ms >= CLEAR_MS:
            yield f"[{_time(cue.end_ms)}]"


def _time(ms: int) -> str:
    seconds, hundredths = divmod(ms // 10, 100)
    return f"{seconds // 60:02}:{seconds % 60:02}.{hundredths:02}"
