"""Log-mel features equal to faster-whisper's, for a batch at once."""

from __future__ import annotations

import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor

HOP = 160
WINDOW_FRAMES = 3000
MELS = 80
SILENT_POWER = -10.0
_FFT = 400
_FILTERS = torch.from_numpy(FeatureExtractor.get_mel_filters(16000, _FFT, MELS).astype("float32"))
_HANN = torch.hann_window(_FFT)


def log_mel(audio: Tensor) -> Tensor:
    """Compute log10 mel powers as faster-whisper does before it normalises.

    Args:
        audio: Samples at 16 kHz, batch x samples, the samples a multiple of 160.

    Returns:
        Batch x 80 x (samples / 160), at least -10.
    """
    padded = torch.nn.functional.pad(audio, (0, HOP))
    spectrum = torch.stft(padded, _FFT, HOP, window=_HANN, center=True, return_complex=True)
    power = spectrum[..., : audio.shape[-1] // HOP].abs() ** 2
    return (_FILTERS @ power).clamp_min(10**SILENT_POWER).log10()


def normalise(mel: Tensor, loudest: Tensor) -> Tensor:
    """Scale log-mel powers as Whisper does.

    Args:
        mel: What `log_mel` gave.
        loudest: For each of the batch, the largest log power of the whole recording.

    Returns:
        The features, of which frames beyond the audio are to be zero.
    """
    return (torch.maximum(mel, loudest[:, None, None] - 8.0) + 4.0) / 4.0
