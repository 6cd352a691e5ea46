"""Carry out one request: decode, cut, recognise. Engine side only, in a process or a thread."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from cesar_watch.speech.audio import open_audio
from cesar_watch.speech.protocol import Event, Failed, Finished, Started, Transcribe, WindowDone
from cesar_watch.speech.recognizer import Recognizer
from cesar_watch.speech.vad import silero
from cesar_watch.speech.windows import Ahead, cut_windows


def perform(request: Transcribe, recognizer: Recognizer) -> Generator[Event, None, None]:
    """Yield the request's events; never raises: what goes wrong comes as `Failed`.

    While the model works on a window, the next one is decoded and cut in a thread of its own, which has
    ended when this generator has.
    """
    try:
        yield from _perform(request, recognizer)
    except Exception as fault:
        yield Failed.from_fault(fault)


def _perform(request: Transcribe, recognizer: Recognizer) -> Generator[Event, None, None]:
    options = request.options
    language = request.language
    recognizer.check(options)
    with open_audio(Path(request.path), max_duration_s=options.max_duration_s, track=options.audio_track) as audio:
        yield Started(declared_s=audio.declared_s)
        cuts = cut_windows(
            (block[0] for block in audio.blocks(request.start_sample)),
            window_s=options.window_s,
            vad=silero,
            first_index=request.first_index,
            start_sample=request.start_sample,
        )
        with Ahead(cuts) as ahead:
            for cut in ahead:
                window = recognizer.recognize(cut, options, language)
                language = language or window.language
                yield WindowDone(window=window, decoded_s=audio.decoded_s)
        yield Finished(duration_s=audio.decoded_s, declared_s=audio.declared_s, skipped_packets=audio.skipped_packets)
