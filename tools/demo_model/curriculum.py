"""The curriculum: which kind of batch each training step has, and how its losses are weighed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from windows import Recipe

ANCHOR_STEP = 2900

_TWO_SECONDS = Recipe(24, 2.0, offset_share=0.5)
_FOUR_SECONDS = Recipe(12, 4.0, offset_share=0.4)
_TEN_SECONDS = Recipe(12, 10.0, offset_share=0.4)
_THIRTY_SECONDS = Recipe(4, 30.0, prompt_share=0.2)
_NARROW = (replace(_THIRTY_SECONDS, narrow_share=0.15), replace(_TEN_SECONDS, narrow_share=0.15))
_GUIDED = (
    replace(_NARROW[0], joined_share=0.5, pause_share=0.15, prompt_share=0.1, fine_guides=True),
    replace(_NARROW[1], joined_share=0.5, pause_share=0.15, offset_share=0.2, fine_guides=True),
)
_PROMPTED = (
    replace(_GUIDED[0], prompt_share=0.4, long_prompt_share=0.5, even_guides=True),
    replace(_GUIDED[1], prompt_share=0.3, long_prompt_share=0.5, offset_share=0.1, even_guides=True),
)
_CLEAN = tuple(replace(prompted, narrow_share=0.08, noise_ratio=20.0) for prompted in _PROMPTED)
_ALIGNED = tuple(replace(clean, aligned_guides=True) for clean in _CLEAN)
_LAST = (replace(_ALIGNED[0], prompt_share=0.6), _ALIGNED[1])


@dataclass(frozen=True)
class Stage:
    """A part of the training: the step it ends before, the batches it goes through in turn, the weights."""

    until: int
    cycle: tuple[Recipe, ...]
    ctc_weight: float
    guide_weight: float


_STAGES = (
    Stage(700, (*[_TWO_SECONDS] * 9, _THIRTY_SECONDS), 1.0, 0.5),
    Stage(1600, (_FOUR_SECONDS, _TEN_SECONDS, _THIRTY_SECONDS), 1.0, 0.5),
    Stage(2000, (_FOUR_SECONDS, _NARROW[1], *_NARROW * 4), 0.3, 0.3),
    Stage(3900, _GUIDED, 0.5, 1.0),
    Stage(4300, _PROMPTED, 0.5, 1.0),
    Stage(4500, _CLEAN, 0.5, 1.0),
    Stage(4800, (*_CLEAN[:1] * 3, _CLEAN[1]), 0.5, 1.0),
    Stage(5500, (*_ALIGNED[:1] * 3, _ALIGNED[1]), 0.5, 1.0),
)
_LAST_STAGE = Stage(0, (*_LAST[:1] * 3, _LAST[1]), 0.5, 1.0)


def stage(step: int) -> Stage:
    """Find the stage of a step; the last one has no end.

    Args:
        step: The number of the step.

    Returns:
        The stage.
    """
    return next((each for each in _STAGES if step < each.until), _LAST_STAGE)


def recipe(step: int) -> Recipe:
    """Choose the kind of batch of a step: short windows first, then mostly full ones.

    Args:
        step: The number of the step.

    Returns:
        What each process makes its batch of.
    """
    cycle = stage(step).cycle
    return cycle[step % len(cycle)]
