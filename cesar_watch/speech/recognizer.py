"""The model: one window's sound in, one `Window` out. Engine side only; several threads may use it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from faster_whisper.audio import pad_or_trim

from cesar_watch.core.errors import CesarError, Kind, RecordingError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Segment, Stretch, Window
from cesar_watch.speech.clips import Clips
from cesar_watch.speech.languages import Spoken, decide, samples_of
from cesar_watch.speech.listener import Listener
from cesar_watch.speech.loading import load_model
from cesar_watch.speech.protocol import Failed, Loaded, Setup, is_out_of_memory
from cesar_watch.speech.windows import Cut, Sound


class Recognizer:
    """A loaded Whisper model.

    What it hears in a window depends on the window's samples and options alone, not on what it heard
    before: an attempt that resumes gives the transcript that an unbroken one would have given.

    Attributes:
        is_multilingual: Whether the model knows other languages than English.
        fell_back: Why the CPU computes though there is a GPU, in a sentence; None where nothing is amiss.

    Raises:
        ModelError: The model can't be loaded on this machine; nothing stays loaded.
    """

    def __init__(self, setup: Setup) -> None:
        self._model, self.fell_back = load_model(setup)
        self.is_multilingual = bool(self._model.model.is_multilingual)
        self._languages: list[str] = self._model.supported_languages

    @property
    def device(self) -> str:
        """What the model runs on: "cpu" or "cuda"."""
        return str(self._model.model.device)

    @property
    def compute_type(self) -> str:
        """The numbers that it computes with, "auto" and "default" resolved."""
        return str(self._model.model.compute_type)

    def told_loaded(self, load_s: float) -> Loaded:
        """Return the event that tells of the model."""
        return Loaded(device=self.device, compute_type=self.compute_type, load_s=load_s, fallback=self.fell_back)

    def check(self, options: EngineSettings) -> None:
        """Refuse options that this model can't carry out.

        Raises:
            RecordingError: `bad_option`.
        """
        if not self.is_multilingual:
            self._check_english(options)
            return
        asked = {"language": [options.language] if options.language else [], "languages": options.languages}
        for key, languages in asked.items():
            unknown = [language for language in languages if language not in self._languages]
            if unknown:
                raise RecordingError(
                    f'engine.{key} = "{unknown[0]}" is none of this model\'s languages. '
                    'Use codes such as "en" or "cs", or leave it out.',
                    reason="bad_option",
                )

    def _check_english(self, options: EngineSettings) -> None:
        languages = [options.language] if options.language else options.languages
        if languages and "en" not in languages:
            raise RecordingError(
                f'This model knows English alone, and "{languages[0]}" is asked for: choose another engine.model, or '
                'engine.language = "en".',
                reason="bad_option",
            )

    def explain(self, fault: Exception) -> Failed:
        """Return the message for what went wrong with a recording."""
        if self.device == "cuda" and not (isinstance(fault, CesarError) or is_out_of_memory(fault)):
            return Failed(kind=Kind.TRANSIENT, reason="cuda_failed", message=f"The GPU failed ({fault}).")
        return Failed.from_fault(fault)

    def detect(
        self, cuts: Sequence[Cut], options: EngineSettings, *, look: Callable[[], None] = lambda: None
    ) -> Spoken:
        """Return the language that is spoken in windows with speech, among those that `options` allow.

        Args:
            look: Called before each sample of 30 s; what it raises comes out.
        """
        if not self.is_multilingual:
            return Spoken("en")
        with self._model.interrupted_by(look):
            return decide([self._probabilities(sample) for sample in samples_of(cuts)], options.languages)

    def _probabilities(self, sample: Sound) -> dict[str, float]:
        features = pad_or_trim(self._model.feature_extractor(sample)[..., :-1])
        found = self._model.model.detect_language(self._model.encode(features))[0]
        return {token[2:-2]: float(probability) for token, probability in found}

    def recognize(
        self,
        cut: Cut,
        options: EngineSettings,
        *,
        spoken: Spoken | None = None,
        context: str = "",
        told: Callable[[float], None] = lambda _: None,
    ) -> Window:
        """Return the window with its segments, in times of the recording.

        Where the VAD heard nobody the model is not asked: it invents text for silence. Channels are heard one after the
        other; then each segment has its channel's name as speaker.

        Args:
            spoken: The language; None: that of the window, found here.
            context: The text before the window.
            told: Takes how many seconds of the window have been heard, before each 30 s; what it raises comes out.
        """
        if not any(cut.spans):
            return _window(cut, None)
        spoken = spoken or self.detect([cut], options, look=lambda: told(0.0))
        channels = len(cut.spans)
        segments: list[Segment] = []
        lost: list[Stretch] = []
        for number, clips in Clips.of(cut):

            def heard(at_s: float, before: int = number) -> None:
                told((before * (cut.end_s - cut.start_s) + at_s - cut.start_s) / channels)

            found, silent = Listener(self._model, options, spoken.language, context, heard).hear(clips)
            segments += found if channels == 1 else _labelled(found, options.channel_names, number)
            lost += silent
        return _window(cut, spoken, sorted(segments, key=lambda segment: segment.start_s), lost)


def _labelled(segments: Iterable[Segment], names: Sequence[str], number: int) -> list[Segment]:
    name = names[number] if number < len(names) else str(number + 1)
    return [segment.model_copy(update={"speaker": name}) for segment in segments]


def _window(cut: Cut, spoken: Spoken | None, segments: Iterable[Segment] = (), lost: Iterable[Stretch] = ()) -> Window:
    return Window(
        index=cut.index,
        start_s=cut.start_s,
        end_s=cut.end_s,
        speech_s=round(cut.speech_s, 3),
        language=spoken.language if spoken else None,
        language_probability=spoken.probability if spoken else None,
        segments=tuple(segments),
        unheard=tuple(lost),
    )
