"""Which language is spoken: heard in several samples of the first speech, once for a recording. Engine side only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.windows import Cut, Sound

SAMPLE = 30 * SAMPLE_RATE
"""What Whisper hears at a time."""
SAMPLES = 4
"""So many are listened to: a single one may be a name, a jingle or a laugh."""
ENOUGH_S = 90.0
"""With so much speech at hand it is decided."""
MOST_WINDOWS = 4
"""No more windows than these are held back until there is enough."""


class Spoken(NamedTuple):
    """A language, and how probable it is (0-1); None where nobody asked the model."""

    language: str
    probability: float | None = None


def with_language(
    cuts: Iterable[Cut], detect: Callable[[Sequence[Cut]], Spoken], speaks: Callable[[Spoken], None]
) -> Iterator[Cut]:
    """Yield the windows; before the first one with speech, `speaks` is told the language.

    Windows with speech are held back until there is enough of it to decide; those before them pass.
    """
    pending = iter(cuts)
    held: list[Cut] = []
    for cut in pending:
        if not held and not cut.speech_s:
            yield cut
            continue
        held.append(cut)
        if sum(one.speech_s for one in held) >= ENOUGH_S or len(held) >= MOST_WINDOWS:
            break
    if held:
        speaks(detect(held))
    # One by one, so that nobody holds them any longer than whoever works on them.
    while held:
        yield held.pop(0)
    yield from pending


def samples_of(cuts: Iterable[Cut]) -> list[Sound]:
    """Return up to `SAMPLES` pieces of speech of at most 30 s each, spread evenly over the windows."""
    speech = [
        channel[span.start : span.end]
        for cut in cuts
        for channel, spans in zip(cut.audio, cut.spans, strict=True)
        for span in spans
    ]
    joined = np.concatenate(speech)
    pieces = [joined[start : start + SAMPLE] for start in range(0, len(joined), SAMPLE)]
    # A last piece of a second or two would count as much as a whole one.
    if len(pieces) > 1 and len(pieces[-1]) < SAMPLE // 3:
        pieces.pop()
    return pieces[:: max(1, len(pieces) // SAMPLES)][:SAMPLES]


def decide(heard: Sequence[Mapping[str, float]], allowed: Sequence[str]) -> Spoken:
    """Return the language with the highest probability over all samples.

    Args:
        heard: For each sample, at least one, the probability of each language that the model knows.
        allowed: The only languages that may be spoken; none named: all. The probability is then among these.
    """
    languages = allowed or list(heard[0])
    sums = {language: sum(sample.get(language, 0.0) for sample in heard) for language in languages}
    best = max(sums, key=lambda language: sums[language])
    whole = sum(sums.values()) if allowed else len(heard)
    return Spoken(best, sums[best] / whole if whole else 0.0)
