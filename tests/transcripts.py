"""Segments with words in even time; transcripts for hypothesis: whatever an engine might ever say, likely or not."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator
from dataclasses import replace

from hypothesis import strategies as st

from cesar_watch.core.transcript import Segment, Transcript, Window, Word
from tests.builders import make_segment, make_transcript, make_word


def said(text: str, start_s: float = 0.0, word_s: float = 0.4, pause_s: float = 0.0) -> Segment:
    """Return a segment whose words take equal times; `|` stands for a pause."""
    words, at_s = [], start_s
    for token in text.split():
        if token == "|":
            at_s += pause_s
            continue
        words.append(make_word(at_s, at_s + word_s, f" {token}"))
        at_s += word_s
    return make_segment(start_s, at_s, text.replace(" |", ""), tuple(words))


def in_memory(transcript: Transcript | None) -> Transcript:
    """Return a transcript with its windows read, so that it can be compared."""
    assert transcript is not None
    return replace(transcript, windows=tuple(transcript.windows))


class PassingWindows(Collection[Window]):
    """Windows that are made when they are gone through: `passes` times by now, at `most` so many at once."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.passes = 0
        self.most = 0

    @property
    def transcript(self) -> Transcript:
        """What they make."""
        return Transcript(duration_s=self._number * 10.0, declared_s=None, skipped_packets=0, windows=self)

    def __len__(self) -> int:
        return self._number

    def __contains__(self, window: object) -> bool:
        return any(window == each for each in self)

    def __iter__(self) -> Iterator[Window]:
        self.passes += 1
        alive: list[weakref.ref[Window]] = []
        for index in range(self._number):
            alive = [ref for ref in alive if ref() is not None]
            self.most = max(self.most, len(alive))
            start_s = index * 10.0
            segment = make_segment(start_s + 1, start_s + 4, " Yes.", (make_word(start_s + 1, start_s + 4, " Yes."),))
            window = Window(index=index, start_s=start_s, end_s=start_s + 10, speech_s=3, segments=(segment,))
            alive.append(weakref.ref(window))
            yield window
            del window


# --- for hypothesis -----------------------------------------------------------------------------

_TIMES = st.one_of(st.floats(-1, 60), st.floats(0, 8000), st.integers(0, 10).map(float))
_LATIN = st.text("abcdefgh.,!?'\"", min_size=1, max_size=30)
_FULL_WIDTH = st.text("今日はいい天気ですね。、「」", min_size=1, max_size=60)
_ODD = st.sampled_from(
    ("<b>", "-->", "&amp;", "1", "{}", "a\tb", "x" * 90, "\u0085", "\N{BOM}", "e\N{COMBINING ACUTE ACCENT}", "👩‍👩‍👧")
)
_TOKENS = st.one_of(_LATIN, _LATIN, _FULL_WIDTH, _ODD)
_SPEAKERS = st.sampled_from((None, None, "L", "R", "Dr. Müller"))


@st.composite
def _words(draw: st.DrawFn, start_s: float) -> tuple[Word, ...]:
    """Draw words that mostly follow each other, some without length, some far too long, some early."""
    words = []
    for token in draw(st.lists(_TOKENS, max_size=30)):
        begin_s = start_s + draw(st.sampled_from((0.0, 0.02, 0.02, 0.4, 1.5, -0.3)))
        start_s = begin_s + draw(st.sampled_from((0.2, 0.2, 0.3, 0.0, 9.0, -0.1)))
        words.append(make_word(begin_s, start_s, draw(st.sampled_from((" ", " ", ""))) + token))
    return tuple(words)


@st.composite
def _segments(draw: st.DrawFn) -> Segment:
    """Draw a segment: with words that make its text, with other words, or with none."""
    start_s = draw(_TIMES)
    words = draw(_words(start_s))
    own_text = "".join(word.text for word in words)
    text = draw(st.one_of(st.just(own_text), st.lists(_TOKENS, max_size=40).map(" ".join)))
    end_s = start_s + draw(st.sampled_from((0.0, 0.3, 2.0, 8.0, 3600.0)))
    return make_segment(start_s, end_s, text, draw(st.sampled_from((words, ()))), speaker=draw(_SPEAKERS))


TRANSCRIPTS: st.SearchStrategy[Transcript] = st.lists(_segments(), max_size=12).map(
    lambda segments: make_transcript(*segments)
)
"""Segments in any order, overlapping or not, of several speakers or none, in any script."""
