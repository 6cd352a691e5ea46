"""Training: AdamW over a curriculum of windows, resumable, in one process for each core."""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
import torch
import torch.distributed as dist
from batches import Batcher
from curriculum import ANCHOR_STEP, recipe, stage
from losses import Losses, losses
from model import Size, Whisper
from tokenizer import Tokens
from torch import Tensor
from windows import Composer, Speakers

_RATE = 1.5e-3
_WARM_UP = 200
_DECAY_SHARE = 0.3
_AVERAGE = 0.998


@dataclass(frozen=True)
class Plan:
    """What to train: where the corpus and the checkpoint lie, the seed, steps and processes."""

    corpus: Path
    checkpoint: Path
    seed: int
    steps: int
    workers: int = 2
    minutes: float = math.inf
    save_every: int = 100


def _rate(step: int, steps: int) -> float:
    decay = max(1, round(_DECAY_SHARE * steps))
    left = max(0, steps - step)
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, left / decay))
    return _RATE * min(1.0, (step + 1) / _WARM_UP) * falling


class _Trainer:
    """One process's share of the training."""

    def __init__(self, plan: Plan, rank: int) -> None:
        self.plan, self.rank = plan, rank
        torch.manual_seed(plan.seed)
        self.tokens = Tokens()
        self.model = Whisper(Size(self.tokens.size, self.tokens.end))
        self.average = copy.deepcopy(self.model)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, _RATE, betas=(0.9, 0.98), weight_decay=0.01)
        self.step, self.seconds = 0, 0.0
        if plan.checkpoint.exists():
            self._restore(torch.load(plan.checkpoint, weights_only=True))
        folder = plan.corpus
        speakers = Speakers(corpus.load(folder / "phrases.pcm"), corpus.load(folder / "words.pcm"))
        self.batcher = Batcher(Composer(speakers), self.tokens, plan.seed * 1000 + rank)

    def _restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        part = self.plan.checkpoint.with_suffix(".part")
        saved = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(saved, part)
        part.replace(self.plan.checkpoint)

    def _share_gradients(self) -> None:
        if self.plan.workers == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.plan.workers
        place = 0
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = flat[place : place + gradient.numel()].view_as(gradient)
            place += gradient.numel()

    def _anchor(self) -> None:
        weight = self.model.decoder.embed_tokens.weight
        for model in (self.model, self.average):
            model.anchor_times(self.tokens.first_time)
        self.optimiser.state[weight]["exp_avg"][self.tokens.first_time :] = 0

    def take_step(self) -> Losses:
        """Train on one batch."""
        if self.step == ANCHOR_STEP:
            self._anchor()
        batch = self.batcher.batch(self.step, recipe(self.step))
        found = losses(self.model, batch, self.tokens.first_time)
        self.optimiser.zero_grad()
        now = stage(self.step)
        torch.autograd.backward(found.total(now.ctc_weight, now.guide_weight))
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(self.step, self.plan.steps)
        self.optimiser.step()
        with torch.no_grad():
            keep = min(_AVERAGE, (1 + self.step) / (10 + self.step))
            for mean, latest in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(latest, 1 - keep)
        self.step += 1
        return found

    def agreed(self, stop: bool) -> bool:
        """Tell whether the first process wants to stop, the same answer in all of them."""
        if self.plan.workers == 1:
            return stop
        flag: Tensor = torch.tensor([float(stop)])
        dist.broadcast(flag, 0)
        return bool(flag.item())


def _report(step: int, found: Losses, seconds: float) -> None:
    print(
        f"step {step} {recipe(step - 1).seconds:.0f}s token {found.token.item():.3f}"
        f" ctc {found.ctc.item():.3f} guide {found.guide.item():.3f} text {100 * found.text_right:.1f}%"
        f" time {100 * found.time_right:.1f}% after {seconds / 60:.1f} min",
        flush=True,
    )


def _work(rank: int, plan: Plan) -> None:
    torch.set_num_threads(1)
    if plan.workers > 1:
        dist.init_process_group("gloo", rank=rank, world_size=plan.workers)
    trainer = _Trainer(plan, rank)
    began = time.monotonic() - trainer.seconds
    first = trainer.seconds
    while trainer.step < plan.steps:
        found = trainer.take_step()
        trainer.seconds = time.monotonic() - began
        late = trainer.agreed(trainer.seconds - first > 60 * plan.minutes)
        last = late or trainer.step == plan.steps
        if rank == 0 and (trainer.step % 21 == 0 or last):
            _report(trainer.step, found, trainer.seconds)
        if rank == 0 and (trainer.step % plan.save_every == 0 or last):
            trainer.save()
        if late:
            break
    if plan.workers > 1:
        dist.destroy_process_group()


def train(plan: Plan) -> None:
    """Train up to the plan's steps, going on from its checkpoint if there is one.

    Args:
        plan: What to train.
    """
    if plan.workers == 1:
        _work(0, plan)
        return
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(20000 + os.getpid() % 20000))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(rank, plan)) for rank in range(plan.workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"training broke off: {[process.exitcode for process in processes]}")
