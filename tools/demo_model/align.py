"""Forced alignment of words that are known with the scores of the CTC head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEVER = np.float32(-1e30)


def _best_path(scores: NDArray[np.float32], may_skip: NDArray[np.bool_]) -> NDArray[np.int64]:
    frames, states = scores.shape
    steps = np.zeros((frames, states), dtype=np.int8)
    best = np.full(states, _NEVER, dtype=np.float32)
    best[:2] = scores[0, :2]
    ways = np.full((3, states), _NEVER, dtype=np.float32)
    columns = np.arange(states)
    for frame in range(1, frames):
        ways[0] = best
        ways[1, 1:] = best[:-1]
        ways[2, 2:] = np.where(may_skip[2:], best[:-2], _NEVER)
        steps[frame] = choice = ways.argmax(axis=0)
        best = ways[choice, columns] + scores[frame]
    path = np.zeros(frames, dtype=np.int64)
    state = states - 1 if best[-1] >= best[-2] else states - 2
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path


def align(scores: NDArray[np.float32], words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find where each word of a known text lies.

    Args:
        scores: Frames x tokens of log probabilities, the blank last.
        words: The tokens of the text, at least one.

    Returns:
        For each word its first and last frame, neighbours meeting halfway between their peaks.
    """
    blank = scores.shape[1] - 1
    states = np.full(2 * len(words) + 1, blank)
    states[1::2] = words
    may_skip = np.zeros(len(states), dtype=np.bool_)
    may_skip[3::2] = words[1:] != words[:-1]
    path = _best_path(scores[:, states], may_skip)
    peaks = np.asarray([np.flatnonzero(path == 2 * number + 1)[[0, -1]] for number in range(len(words))])
    halfway = (peaks[:-1, 1] + peaks[1:, 0]) // 2
    begins = np.concatenate([[0], halfway])
    ends = np.concatenate([halfway, [len(scores) - 1]])
    return np.stack([begins, ends], axis=1)
