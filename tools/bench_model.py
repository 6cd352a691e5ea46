"""Make a Whisper for benchmarks: real shapes, seeded noise, and the same words in every 30 seconds.

    python -m tools.bench_model tiny FOLDER

The weights are noise, so the cost of every layer is that of the real model. What is decoded is fixed: the decoder's
position encodings point at the embedding of the next token, so that each 30 s window says the same 80 words between
two timestamps, with high probability. Hence no fall-backs, and the same work on both sides of a comparison.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ctranslate2.specs.whisper_spec import WhisperSpec
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

Array = npt.NDArray[np.float32]

WORDS_SAID = 80
TEXT_TOKENS = 50_257
SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|lang{number}|>" for number in range(99)),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{step / 50:.2f}|>" for step in range(1501)),
]
AUDIO_POSITIONS, TEXT_POSITIONS, MELS = 1500, 448, 80
POINTING = 6.0
"""How much stronger than the noise of the layers the pointer at the next token is."""


class Size(NamedTuple):
    """The shape of one of OpenAI's models (Radford et al. 2022, table 1)."""

    layers: int
    width: int
    heads: int


SIZES = {
    "tiny": Size(4, 384, 6),
    "base": Size(6, 512, 8),
    "small": Size(12, 768, 12),
    "medium": Size(24, 1024, 16),
    "large": Size(32, 1280, 20),
}


def vocabulary() -> list[str]:
    """Return all tokens by their ids; a text token is a word with its leading space."""
    return [*(f"Ġw{number}" for number in range(TEXT_TOKENS)), *SPECIAL]


def make(size: Size, folder: Path, seed: int = 1) -> None:
    """Write the model folder that faster-whisper loads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = vocabulary()
    spec = WhisperSpec(size.layers, size.heads, size.layers, size.heads)
    _fill(spec, size, np.random.default_rng(seed))
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [TEXT_TOKENS]
    spec.config.lang_ids = []
    spec.config.alignment_heads = [[size.layers - 1, head] for head in range(size.heads)]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))
    _save_tokenizer(tokens, folder / "tokenizer.json")
    preprocessor = {"feature_size": MELS, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor) + "\n")


def _save_tokenizer(tokens: list[str], path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=tokens[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(path))


def _fill(spec: WhisperSpec, size: Size, chance: np.random.Generator) -> None:
    width = size.width

    def noise(*shape: int) -> Array:
        values: Array = (chance.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        return values

    def linear(into: Any, rows: int, columns: int) -> None:
        into.weight, into.bias = noise(rows, columns), np.zeros(rows, np.float32)

    def norm(into: Any) -> None:
        into.gamma, into.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def attention(into: Any, *, is_self: bool) -> None:
        norm(into.layer_norm)
        if is_self:
            linear(into.linear[0], 3 * width, width)
            linear(into.linear[1], width, width)
        else:
            linear(into.linear[0], width, width)
            linear(into.linear[1], 2 * width, width)
            linear(into.linear[2], width, width)

    def feed_forward(into: Any) -> None:
        norm(into.layer_norm)
        linear(into.linear_0, 4 * width, width)
        linear(into.linear_1, width, 4 * width)

    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = noise(width, MELS, 3), np.zeros(width, np.float32)
    encoder.conv2.weight, encoder.conv2.bias = noise(width, width, 3), np.zeros(width, np.float32)
    encoder.position_encodings.encodings = noise(AUDIO_POSITIONS, width)
    norm(encoder.layer_norm)
    for layer in encoder.layer:
        attention(layer.self_attention, is_self=True)
        feed_forward(layer.ffn)
    embeddings = noise(TEXT_TOKENS + len(SPECIAL), width)
    decoder.embeddings.weight = embeddings
    decoder.projection.weight = embeddings
    norm(decoder.layer_norm)
    for layer in decoder.layer:
        attention(layer.self_attention, is_self=True)
        attention(layer.attention, is_self=False)
        feed_forward(layer.ffn)
    # Position 0 holds the start token, the whole prompt of a model that knows one language.
    timestamps = TEXT_TOKENS + SPECIAL.index("<|0.00|>")
    words = chance.choice(TEXT_TOKENS, WORDS_SAID, replace=False)
    said = [timestamps, *words, timestamps + 1500, *[TEXT_TOKENS] * TEXT_POSITIONS][:TEXT_POSITIONS]
    pointer = embeddings[said] / np.linalg.norm(embeddings[said], axis=1, keepdims=True)
    decoder.position_encodings.encodings = (POINTING * np.sqrt(width) * pointer).astype(np.float32)


def main() -> None:
    """Make the model that the command line asks for."""
    make(SIZES[sys.argv[1]], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
