"""The model card: what the model is, how it was made and what it achieves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluate import Evaluation, Score
from export import QUANTISATION, load_checkpoint
from speak import VOICES
from vocabulary import DIGITS, JOINERS, LETTERS, NOUNS, OTHERS

_CARD = """# Model card: demo

A very small Whisper, trained from nothing on synthetic speech by the project itself, so that the whole
program can be run and tested without a download. It knows {word_count} English words of {voice_count}
synthetic voices and nothing else: whatever else it is given it hears as these words or not at all.

## Model

| | |
| --- | --- |
| Architecture | Whisper, English-only |
| Layers | {encoder} of the encoder, {decoder} of the decoder; width {width}, {heads} heads, 80 mel bins |
| Parameters | {parameters:,} |
| Format | CTranslate2, weights {quantisation}; model.bin {bytes:,} bytes |
| Tokens | {text_tokens} of text (byte-level BPE, one a word), Whisper's special ones, 1501 timestamps |
| Timestamps | segments and words (alignment heads: the first {guided} of the last decoder layer) |

## Vocabulary

Digits: {digits}.

Letters' names: {letters}.

Words: {words}.

Phrases of one to eight words in any order; a letter is written as a capital.

## Voices

{voices}.

## Training

| | |
| --- | --- |
| Command | `{command}` |
| Seed | {seed} |
| Steps | {steps} |
| Time | {minutes:.0f} minutes of training on two shared CPU cores |
| Speech | phrases by espeak-ng and flite, and phrases joined from single words with exact times |
| Held out | one in forty of the word sequences of three words or more: never a phrase nor within one |

Transcribe recordings longer than 30 s with `condition_on_previous_text=False`: the text before confuses a
model as small as this one.

The weights are the running average of the trained ones. The training code, its losses and its curriculum are
in `tools/demo_model/`.

## Results

Measured through faster-whisper with its default options (beam 5, no voice detection) and
`compute_type="int8"` on held-out phrases of the voices above, spoken anew.

| Measure | Result |
| --- | --- |
| Word error rate, single phrases | {short} |
| Word error rate, recordings of several minutes with pauses up to 40 s | {long} |
| The same with word timestamps | {long_timed} |
| The same without the text before (`condition_on_previous_text=False`) | {long_alone} |
| Word error rate, phrases joined from single words | {joined} |
| Median error of a word's start, joined words | {start_ms:.0f} ms |
| Median error of a word's end, joined words | {end_ms:.0f} ms |
| Words whose start and end are both within 100 ms | {within:.1f} % |

Word error rate of the demonstration recordings, with word timestamps and without the text before:
{recordings}.

Word error rate by voice, single phrases: {by_voice}.

Segments invented in 60 s, voice detection off, with and without timestamps: {invented}.

## Licence

MIT, like the program. The weights were trained by the project on speech that it synthesised with espeak-ng
and flite; no recording of a person and no other model was used.
"""


@dataclass(frozen=True)
class Made:
    """How the model was made: the command, the seed and where the checkpoint lies."""

    command: str
    seed: int
    checkpoint: Path


def _score(score: Score) -> str:
    return f"{score.rate:.1f} % ({score.errors} of {score.words} words)"


def write_card(folder: Path, made: Made, found: Evaluation) -> None:
    """Write MODEL_CARD.md beside the model.

    Args:
        folder: The model folder.
        made: How the model was made.
        found: What evaluation measured.
    """
    trained, size, _, steps, seconds = load_checkpoint(made.checkpoint)
    parameters = sum(p.numel() for name, p in trained.named_parameters() if "ctc" not in name)
    text = _CARD.format(
        word_count=len(DIGITS + LETTERS + NOUNS + OTHERS + JOINERS),
        voice_count=len(VOICES),
        width=size.width,
        encoder=size.encoder_layers,
        decoder=size.decoder_layers,
        heads=size.heads,
        parameters=parameters,
        quantisation=QUANTISATION,
        bytes=(folder / "model.bin").stat().st_size,
        text_tokens=size.text_tokens,
        guided=trained.guided_heads,
        digits=", ".join(DIGITS),
        letters=", ".join(LETTERS),
        words=", ".join(NOUNS + OTHERS + JOINERS),
        voices=", ".join(f"{voice.name} ({voice.program} `{voice.voice}`)" for voice in VOICES),
        command=made.command,
        seed=made.seed,
        steps=steps,
        minutes=seconds / 60,
        short=_score(found.short),
        long=_score(found.long),
        long_timed=_score(found.long_timed),
        long_alone=_score(found.long_alone),
        recordings=", ".join(f"{name} {rate:.1f} %" for name, rate in found.recordings.items()),
        joined=_score(found.joined),
        start_ms=1000 * found.word_start_error,
        end_ms=1000 * found.word_end_error,
        within=found.words_within_100_ms,
        by_voice=", ".join(f"{name} {rate:.1f} %" for name, rate in found.short_by_voice.items()),
        invented=", ".join(f"{name} {count}" for name, count in found.invented.items()),
    )
    (folder / "MODEL_CARD.md").write_text(text)
