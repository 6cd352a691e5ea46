"""Log-mel features of a window in bounded memory: faster-whisper's own, made a piece at a time. Engine side only.

faster-whisper makes the spectrogram of all the sound at once, which takes a quarter of a gigabyte for five minutes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

PIECE_FRAMES = 3000
"""30 s: what the encoder takes at a time."""


class PiecewiseFeatures(FeatureExtractor):  # type: ignore[misc]  # the library has no types
    """Makes what the library's extractor makes, bit for bit, in pieces of 30 s."""

    def __call__(
        self, waveform: npt.NDArray[np.float32], padding: int = 160, chunk_length: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Return float32 features of shape (mels, frames), a frame each 10 ms.

        Args:
            waveform: 16 kHz mono, -1 to 1.
            padding: Silent samples added behind it.
            chunk_length: As the library has it: seconds that the encoder takes at a time; kept as it is if None.
        """
        if chunk_length is not None:
            self.n_samples = chunk_length * self.sampling_rate
            self.nb_max_frames = self.n_samples // self.hop_length
        margin = self.n_fft // 2
        padded = np.pad(np.pad(waveform, (0, padding)), margin, mode="reflect")
        frames = (len(padded) - self.n_fft) // self.hop_length
        pieces = [
            self._power(padded[first * self.hop_length :], min(PIECE_FRAMES, frames - first))
            for first in range(0, frames, PIECE_FRAMES)
        ]
        log_spec = np.log10(np.clip(np.concatenate(pieces, axis=1), a_min=1e-10, a_max=None))
        log_spec = np.maximum(log_spec, log_spec.max() - 8.0)
        features: npt.NDArray[np.float32] = (log_spec + 4.0) / 4.0
        return features

    def _power(self, padded: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
        """Return the mel power of the first frames, shape (mels, frames)."""
        window = np.hanning(self.n_fft + 1)[:-1].astype("float32")
        samples = padded[: (frames - 1) * self.hop_length + self.n_fft]
        stft = self.stft(samples, self.n_fft, self.hop_length, window=window, center=False, return_complex=True)
        power: npt.NDArray[np.float32] = self.mel_filters @ np.abs(stft.astype("complex64")) ** 2
        return power
