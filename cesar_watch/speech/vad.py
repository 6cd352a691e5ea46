"""Find speech with the Silero model that faster-whisper carries, in bounded memory. Engine side only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.windows import Span

FRAME = 512
"""Samples that the model judges at a time, behind the last `CONTEXT` ones of the frame before."""
CONTEXT = 64
FRAMES_AT_ONCE = 300
"""Ten seconds. The library gives the model all sound at once, which takes a hundred megabytes for five minutes."""
THRESHOLD = 0.5
"""Where speech begins; below `END_THRESHOLD` it ends (Silero's own figures)."""
END_THRESHOLD = 0.35
SHORTEST_SILENCE = int(0.3 * SAMPLE_RATE)
"""A pause between two sentences; shorter ones lie between and inside words."""

Sound = npt.NDArray[np.float32]


def silero(audio: Sound, *, look: Callable[[], None] = lambda: None) -> list[Span]:
    """Return where somebody speaks in 16 kHz mono float32 sound, in order and without padding.

    Args:
        look: Called every ten seconds of sound; what it raises comes out.
    """
    return list(spans_of(probabilities(audio, look), len(audio)))


def probabilities(audio: Sound, look: Callable[[], None] = lambda: None) -> npt.NDArray[np.float32]:
    """Return for each frame how probable it is that somebody speaks in it; the last frame is filled up with silence."""
    before = np.zeros(CONTEXT, np.float32)
    hidden = cell = np.zeros((1, 1, 128), np.float32)
    found = [np.zeros(0, np.float32)]
    for first in range(0, len(audio), FRAMES_AT_ONCE * FRAME):
        look()
        # Of all the sound there must be no copy: it is large.
        piece = audio[first : first + FRAMES_AT_ONCE * FRAME]
        frames = np.pad(piece, (0, -len(piece) % FRAME)).reshape(-1, FRAME)
        context = np.vstack([before, frames[:-1, -CONTEXT:]])
        before = frames[-1, -CONTEXT:]
        output, hidden, cell = get_vad_model().session.run(
            None, {"input": np.hstack([context, frames]), "h": hidden, "c": cell}
        )
        found.append(output.reshape(-1))
    return np.concatenate(found)


def spans_of(probabilities: Iterable[float], length: int) -> Iterator[Span]:
    """Yield the stretches of speech in `length` samples of which each frame's probability is known.

    One goes on through pauses shorter than `SHORTEST_SILENCE`.
    """
    start = silent_since = None
    for at, probability in zip(range(0, length, FRAME), probabilities, strict=False):
        if probability >= THRESHOLD:
            start = at if start is None else start
            silent_since = None
        elif probability < END_THRESHOLD and start is not None:
            silent_since = at if silent_since is None else silent_since
            if at - silent_since >= SHORTEST_SILENCE:
                yield Span(start, silent_since)
                start = silent_since = None
    if start is not None:
        yield Span(start, length)
