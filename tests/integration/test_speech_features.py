from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from cesar_watch.speech.features import PIECE_FRAMES, PiecewiseFeatures
from tests.sounds import RATE, conversation, voice

PIECE = PIECE_FRAMES * 160


@pytest.mark.parametrize("samples", [1, 160, 400, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 77])
def test_features_made_in_pieces_are_those_of_the_library(samples: int) -> None:
    sound = np.tile(conversation(4), 20)[:samples]
    whole, pieces = FeatureExtractor()(sound), PiecewiseFeatures()(sound)
    assert pieces.shape == whole.shape
    assert pieces.dtype == np.float32
    # The same sums in another order: a float's rounding.
    assert np.allclose(pieces, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"chunk_length": 10}, {"padding": 0}])
def test_features_take_the_options_of_the_library(options: dict[str, int]) -> None:
    whole, pieces = FeatureExtractor(), PiecewiseFeatures()
    sound = voice(3)
    assert np.allclose(pieces(sound, **options), whole(sound, **options), rtol=0, atol=1e-6)
    assert (pieces.n_samples, pieces.nb_max_frames) == (whole.n_samples, whole.nb_max_frames)


def test_features_of_more_mel_bands_are_those_of_the_library() -> None:
    sound = voice(2)
    assert np.allclose(
        PiecewiseFeatures(feature_size=128)(sound), FeatureExtractor(feature_size=128)(sound), rtol=0, atol=1e-6
    )
    assert len(sound) == 2 * RATE
