"""Build the demonstration model: speak, train, export, evaluate and record, in this order."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import corpus
from train import Plan, train


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for model/ and recordings/")
    parser.add_argument("--work", type=Path, required=True, help="folder for the corpus and the checkpoint")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop training after so long")
    parser.add_argument("--workers", type=int, default=2, help="training processes, part of the recipe")
    return parser.parse_args()


def main() -> None:
    """Run all stages; each goes on from what an earlier run left in the work folder."""
    options = _arguments()
    corpus.prepare(options.work / "corpus", options.seed)
    checkpoint = options.work / "checkpoint.pt"
    train(
        Plan(
            options.work / "corpus", checkpoint, options.seed, options.steps, options.workers, options.minutes
        )
    )


if __name__ == "__main__":
    main()
