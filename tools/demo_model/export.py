"""Export: a checkpoint becomes a Whisper of transformers and then a CTranslate2 model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from ctranslate2.converters.transformers import WhisperLoader
from features import HOP, MELS
from model import Size, Whisper
from tokenizer import Tokens
from transformers import WhisperConfig, WhisperForConditionalGeneration

QUANTISATION = "int8_float32"
_PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": MELS,
    "sampling_rate": 16000,
    "hop_length": HOP,
    "chunk_length": 30,
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def _config(size: Size, tokens: Tokens) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=size.vocabulary,
        num_mel_bins=MELS,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
        max_source_positions=size.audio_positions,
        max_target_positions=size.text_positions,
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        pad_token_id=tokens.end,
        decoder_start_token_id=tokens.start,
        suppress_tokens=[],
        begin_suppress_tokens=[tokens.end],
    )


def to_transformers(trained: Whisper, size: Size, tokens: Tokens) -> WhisperForConditionalGeneration:
    """Move the weights, the CTC head left out, into the Whisper of transformers.

    Args:
        trained: The trained model.
        size: Its dimensions.
        tokens: Its tokens.

    Returns:
        The same model as transformers knows it.
    """
    whisper = WhisperForConditionalGeneration(_config(size, tokens))
    state = {f"model.{name}": value for name, value in trained.state_dict().items() if "ctc" not in name}
    missing, unexpected = whisper.load_state_dict(state, strict=False)
    if unexpected or set(missing) - {"proj_out.weight"}:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    whisper.tie_weights()
    return whisper


def alignment_heads(size: Size) -> list[list[int]]:
    """List the heads of the last decoder layer that training guided to look at the word spoken."""
    return [[size.decoder_layers - 1, head] for head in range(Whisper.guided_heads)]


def _convert(whisper: WhisperForConditionalGeneration, size: Size, tokens: Tokens, folder: Path) -> None:
    spec = WhisperLoader().get_model_spec(whisper)
    spec.register_vocabulary(tokens.vocabulary())
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokens.end]
    spec.config.alignment_heads = alignment_heads(size)
    spec.config.lang_ids = []
    spec.validate()
    spec.optimize(quantization=QUANTISATION)
    spec.save(str(folder))


def load_checkpoint(checkpoint: Path) -> tuple[Whisper, Size, Tokens, int, float]:
    """Load the averaged weights of a checkpoint.

    Args:
        checkpoint: What training wrote.

    Returns:
        The model, its dimensions, its tokens, the steps taken and the seconds they took.
    """
    tokens = Tokens()
    size = Size(tokens.size, tokens.end)
    saved = torch.load(checkpoint, weights_only=True)
    trained = Whisper(size)
    trained.load_state_dict(saved["average"])
    return trained.eval(), size, tokens, int(saved["step"]), float(saved["seconds"])


def export(checkpoint: Path, folder: Path) -> None:
    """Write the model folder that faster-whisper loads.

    Args:
        checkpoint: What training wrote.
        folder: Where model.bin, config.json, tokenizer.json and the rest go.
    """
    trained, size, tokens, _, _ = load_checkpoint(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    _convert(to_transformers(trained, size, tokens), size, tokens, folder)
    tokens.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR, indent=2) + "\n")
