"""Make subtitles of a transcript as subtitle editors expect them; how they are written down is `subtitles.py`.

The rules are those of Netflix (Timed Text Style Guide, General Requirements and English: at most two lines of 42
characters, 5/6 s to 7 s, 20 characters a second, two frames between subtitles) and of the BBC (Subtitle Guidelines:
breaks at ends of sentences and behind punctuation). Where speech leaves no room for all, reading speed gives way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

from cesar_watch.core.transcript import Segment, Transcript
from cesar_watch.delivery.formats.pieces import WHOLE_COLUMNS, Piece, columns, pieces_of, text_of
from cesar_watch.delivery.formats.plain import label_of, speaker_of, spoken

LINE_COLUMNS = 42
SHORTEST_MS = 834
LONGEST_MS = 7000
COLUMN_MS = 50
"""As long as a reader takes for one character, at 20 a second."""
GAP_MS = 84
"""Two frames of a film: a shorter gap only flickers."""
PAUSE_MS = 1000
"""Nobody reads on through such a silence: what follows is another subtitle."""
BREATH_MS = 300
"""Such a pause is as good a place for a break as the end of a sentence."""

_LABEL_COLUMNS = LINE_COLUMNS - WHOLE_COLUMNS
"""No more room than that is kept for a speaker's label; a longer one makes a line too long."""
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]」』]*$")  # noqa: RUF001 (full-width marks are meant)
_CLAUSE_END = re.compile(r"[,;:–—、，；：][\"'”’»)\]」』]*$")  # noqa: RUF001


@dataclass(frozen=True)
class Cue:
    """One subtitle: what is shown from `start_ms` until `end_ms`, on one line or two, and who says it, if known."""

    start_ms: int
    end_ms: int
    lines: tuple[tuple[Piece, ...], ...]
    speaker: str

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What is on its lines, from first to last."""
        return tuple(piece for line in self.lines for piece in line)


@dataclass(frozen=True)
class _Draft:
    """What is to be shown together, before it is known how long."""

    pieces: tuple[Piece, ...]
    speaker: str

    @property
    def start_ms(self) -> int:
        return self.pieces[0].start_ms

    @property
    def end_ms(self) -> int:
        return max(piece.end_ms for piece in self.pieces)

    @property
    def fits(self) -> bool:
        """Whether it is no more than one subtitle can show."""
        return self.end_ms - self.start_ms <= LONGEST_MS and self.lines is not None

    @property
    def lines(self) -> tuple[tuple[Piece, ...], ...] | None:
        """One line, or two if that would be too long; None if two would be too long as well."""
        label = min(columns(label_of(self.speaker)), _LABEL_COLUMNS)
        if label + columns(text_of(self.pieces)) <= LINE_COLUMNS:
            return (self.pieces,)
        cut = _best_cut(self.pieces, LINE_COLUMNS - label, LINE_COLUMNS)
        return None if cut is None else (self.pieces[:cut], self.pieces[cut:])


def cues(transcript: Transcript) -> Iterator[Cue]:
    """Yield the subtitles in time order: never empty, never overlapping, each long enough to be seen.

    Where two speak at once the later one is shown when the first has had its 5/6 s.
    """
    return _on_screen(_joined(_in_order(transcript)))


# --- what is shown together ---------------------------------------------------------------------


def _in_order(transcript: Transcript) -> Iterator[_Draft]:
    """Yield the drafts by their times, in which channels interleave; none reaches out of its window."""
    for window in transcript.windows:
        drafts = [draft for segment in spoken(window.segments) for draft in _drafts(segment)]
        yield from sorted(drafts, key=lambda draft: draft.start_ms)


def _drafts(segment: Segment) -> Iterator[_Draft]:
    pieces = pieces_of(segment)
    pauses = [at for at in range(1, len(pieces)) if _silence_ms(pieces, at) >= PAUSE_MS]
    for start, end in pairwise((0, *pauses, len(pieces))):
        yield from _divided(_Draft(tuple(pieces[start:end]), speaker_of(segment)))


def _divided(draft: _Draft) -> Iterator[_Draft]:
    """Cut in two, and those again, until everything fits."""
    cut = None if draft.fits else _best_cut(draft.pieces)
    if cut is None:
        yield draft
        return
    for part in (draft.pieces[:cut], draft.pieces[cut:]):
        yield from _divided(_Draft(part, draft.speaker))


def _best_cut(pieces: Sequence[Piece], left: float = math.inf, right: float = math.inf) -> int | None:
    """Return before which piece to break: where both sides are about as wide, and a reader minds it least.

    Args:
        left, right: How many columns either side may take at most. None is returned where there is no such break.
    """
    wide = [0, *accumulate(columns(piece.text) + piece.is_spaced for piece in pieces)]

    def sides(at: int) -> tuple[int, int]:
        return wide[at] - pieces[0].is_spaced, wide[-1] - wide[at] - pieces[at].is_spaced

    def harm(at: int) -> float:
        before, behind = sides(at)
        return abs(before - behind) / wide[-1] + _harm(pieces, at)

    allowed = [at for at in range(1, len(pieces)) if sides(at)[0] <= left and sides(at)[1] <= right]
    return min(allowed, key=harm, default=None)


def _harm(pieces: Sequence[Piece], at: int) -> float:
    """Return how much a reader minds a break there; 1 is as bad as one word on one side and all others on the other."""
    if _SENTENCE_END.search(pieces[at - 1].text) or _silence_ms(pieces, at) >= BREATH_MS:
        return 0.0
    if _CLAUSE_END.search(pieces[at - 1].text):
        return 0.1
    return 0.5 if pieces[at].begins_word else 2.0


def _silence_ms(pieces: Sequence[Piece], at: int) -> int:
    return pieces[at].start_ms - pieces[at - 1].end_ms


def _joined(drafts: Iterable[_Draft]) -> Iterator[_Draft]:
    """Join what would be gone too soon with what its speaker says next, as far as both fit."""
    last: _Draft | None = None
    for draft in drafts:
        if last and last.speaker == draft.speaker and draft.start_ms - last.start_ms < SHORTEST_MS:
            both = _Draft(last.pieces + draft.pieces, draft.speaker)
            if both.fits:
                last = both
                continue
        if last:
            yield last
        last = draft
    if last:
        yield last


# --- when it is shown ---------------------------------------------------------------------------


def _on_screen(drafts: Iterable[_Draft]) -> Iterator[Cue]:
    free_ms = 0
    for draft, following in pairwise(chain(drafts, [None])):
        assert draft is not None, "only the last one has none behind it"
        start_ms = max(draft.start_ms, free_ms)
        reading_ms = columns(text_of(draft.pieces)) * COLUMN_MS
        wanted_ms = min(max(draft.end_ms, start_ms + max(SHORTEST_MS, reading_ms)), start_ms + LONGEST_MS)
        free_ms = wanted_ms if following is None else _end_ms(start_ms, wanted_ms, following.start_ms)
        yield Cue(start_ms, free_ms, draft.lines or (draft.pieces,), draft.speaker)


def _end_ms(start_ms: int, wanted_ms: int, following_ms: int) -> int:
    """Return when a subtitle ends: two frames before the next one or, where that would be too soon, at its beginning.

    That one has to wait where it would begin too soon.
    """
    latest_ms = following_ms - GAP_MS
    if latest_ms < start_ms + SHORTEST_MS:
        return max(following_ms, start_ms + SHORTEST_MS)
    return min(wanted_ms, latest_ms)
