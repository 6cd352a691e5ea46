"""The three losses of training: next token, CTC on the encoder, and where the decoder looks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from align import align
from batches import IGNORED, Batch
from model import Whisper
from torch import Tensor
from torch.nn import functional

_GUIDE_MARGIN = 1
_NEIGHBOUR_SHARE = 0.2
_EVEN_SHARE = 0.5


@dataclass(frozen=True)
class Losses:
    """The losses of a batch and the share of its text and time tokens that were right."""

    token: Tensor
    ctc: Tensor
    guide: Tensor
    text_right: float
    time_right: float

    def total(self, ctc_weight: float, guide_weight: float) -> Tensor:
        """Weigh the losses into one."""
        return self.token + ctc_weight * self.ctc + guide_weight * self.guide


def _token_loss(logits: Tensor, targets: Tensor, first_time: int) -> Tensor:
    chances = functional.log_softmax(logits.float(), dim=-1)
    last = chances.shape[-1] - 1
    exact = chances.gather(1, targets[:, None])[:, 0]
    before = chances.gather(1, (targets - 1).clamp(first_time, last)[:, None])[:, 0]
    after = chances.gather(1, (targets + 1).clamp(first_time, last)[:, None])[:, 0]
    blurred = (1 - 2 * _NEIGHBOUR_SHARE) * exact + _NEIGHBOUR_SHARE * (before + after)
    return -torch.where(targets >= first_time, blurred, exact).mean()


def _ctc_loss(scores: Tensor, batch: Batch) -> Tensor:
    chances = functional.log_softmax(scores.float(), dim=-1).transpose(0, 1)
    frames = torch.full_like(batch.ctc_lengths, chances.shape[0])
    loss = functional.ctc_loss(
        chances,
        batch.ctc_targets,
        frames,
        batch.ctc_lengths,
        blank=scores.shape[-1] - 1,
        reduction="none",
        zero_infinity=True,
    )
    weight = batch.ctc_counts / batch.ctc_lengths.clamp_min(1)
    return (loss * weight).sum() / batch.ctc_counts.sum().clamp_min(1)


def _aligned(scores: Tensor, batch: Batch) -> Tensor:
    chances = functional.log_softmax(scores.detach().float(), dim=-1).numpy()
    guides = batch.guides.clone()
    for row in sorted(set(guides[guides[:, 5] >= 0, 0].tolist())):
        words = batch.ctc_targets[row, : int(batch.ctc_lengths[row])].numpy()
        found = torch.from_numpy(align(chances[row], words))
        loose = torch.nonzero((guides[:, 0] == row) & (guides[:, 5] >= 0))[:, 0]
        spans = found[guides[loose, 5]]
        begins = torch.maximum(guides[loose, 2], spans[:, 0])
        ends = torch.minimum(guides[loose, 3], spans[:, 1])
        good = begins < ends
        guides[loose[good], 2], guides[loose[good], 3] = begins[good], ends[good]
    return guides


def _guide_loss(chances: Tensor, guides: Tensor) -> Tensor:
    if not len(guides):
        return chances.new_zeros(())
    rows = chances[guides[:, 0], :, guides[:, 1]]
    frames = torch.arange(chances.shape[-1])
    margin = _GUIDE_MARGIN * (1 - guides[:, 4:5])
    inside = ((frames >= guides[:, 2:3] - margin) & (frames <= guides[:, 3:4] + margin))[:, None]
    somewhere = -rows.masked_fill(~inside, -1e9).logsumexp(dim=-1)
    width = inside.sum(dim=-1).clamp_min(1)
    evenly = -rows.masked_fill(~inside, 0).sum(dim=-1) / width - width.log()
    return torch.where(guides[:, 4:5] > 0, _EVEN_SHARE * evenly, somewhere).mean()


def _share_right(logits: Tensor, targets: Tensor, chosen: Tensor, slack: int) -> float:
    if not bool(chosen.any()):
        return 1.0
    near = (logits[chosen].argmax(dim=-1) - targets[chosen]).abs() <= slack
    return float(near.float().mean())


def losses(model: Whisper, batch: Batch, first_time: int) -> Losses:
    """Run the model on a batch and compute its losses.

    Args:
        model: The model.
        batch: The batch.
        first_time: The number of the token `<|0.00|>`.

    Returns:
        The losses.
    """
    counted = batch.targets != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16):
        audio = model.encoder(batch.features, batch.offsets)
        hidden, query = model.decoder(batch.inputs, audio)
        logits, scores = model.logits(hidden[counted]), model.ctc(audio)
        looks = model.attention(query, audio)
    targets = batch.targets[counted]
    timed = targets >= first_time
    return Losses(
        token=_token_loss(logits, targets, first_time),
        ctc=_ctc_loss(scores, batch),
        guide=_guide_loss(looks, _aligned(scores, batch) if batch.aligned else batch.guides),
        text_right=_share_right(logits, targets, ~timed, 0),
        time_right=_share_right(logits, targets, timed, 2),
    )
