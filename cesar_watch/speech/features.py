"""Log-mel features of a window in bounded memory: faster-whisper's own, made a piece at a time. Engine side only.

faster-whisper makes the spectrogram of all the sound at once, which takes a quarter of a gigabyte for five minutes.
"""

from __future__ import annotations

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

from cesar_watch.speech.room import Floats, room

PIECE_FRAMES = 3000
"""30 s: what the encoder takes at a time."""


class PiecewiseFeatures(FeatureExtractor):  # type: ignore[misc]  # the library has no types
    """Makes what the library's extractor makes, bit for bit, in pieces of 30 s."""

    def __call__(self, waveform: Floats, padding: int = 160, chunk_length: int | None = None) -> Floats:
        """Return float32 features of shape (mels, frames), a frame each 10 ms.

        Args:
            waveform: 16 kHz mono, -1 to 1.
            padding: Silent samples added behind it.
            chunk_length: As the library has it: seconds that the encoder takes at a time; kept as it is if None.
        """
        if chunk_length is not None:
            self.n_samples = chunk_length * self.sampling_rate
            self.nb_max_frames = self.n_samples // self.hop_length
        frames = (len(waveform) + padding) // self.hop_length
        features = room(len(self.mel_filters), frames)
        for first in range(0, frames, PIECE_FRAMES):
            last = min(first + PIECE_FRAMES, frames)
            features[:, first:last] = self._power(self._padded(waveform, padding, first, last))
        np.log10(np.maximum(features, 1e-10, out=features), out=features)
        np.maximum(features, features.max() - 8.0, out=features)
        features += 4.0
        features /= 4.0
        return features

    def _padded(self, waveform: Floats, padding: int, first: int, last: int) -> Floats:
        """Return the sound of frames [first, last), and half a frame on either side: past an edge, its mirror image."""
        margin, length = self.n_fft // 2, len(waveform) + padding
        begin, end = first * self.hop_length - margin, (last - 1) * self.hop_length + margin
        piece = waveform[max(0, begin) : end]
        piece = np.pad(piece, (0, max(0, min(end, length) - max(0, begin) - len(piece))))
        return np.pad(piece, (max(0, -begin), max(0, end - length)), mode="reflect")

    def _power(self, samples: Floats) -> Floats:
        """Return the mel power of sound, shape (mels, frames)."""
        window = np.hanning(self.n_fft + 1)[:-1].astype("float32")
        stft = self.stft(samples, self.n_fft, self.hop_length, window=window, center=False, return_complex=True)
        power: Floats = self.mel_filters @ np.abs(stft.astype("complex64")) ** 2
        return power
