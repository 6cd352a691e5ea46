"""Build the demonstration model: speak, train, export, evaluate and record, in this order."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import corpus
from card import Made, write_card
from evaluate import evaluate
from export import export
from recordings import record
from train import Plan, train

STEPS = 6300


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets model/ and recordings/")
    parser.add_argument("--work", type=Path, required=True, help="folder for the corpus and the checkpoint")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything made by chance")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps")
    parser.add_argument("--workers", type=int, default=2, help="training processes; a part of the recipe")
    parser.add_argument("--minutes", type=float, default=math.inf, help="pause training after so long")
    parser.add_argument("--until", choices=("train", "all"), default="all", help="the last stage to run")
    return parser.parse_args()


def _publish(options: argparse.Namespace, checkpoint: Path) -> None:
    model = options.out / "model"
    export(checkpoint, model)
    record(options.out / "recordings", options.seed)
    found = evaluate(model, options.work / "corpus", options.out / "recordings")
    print(json.dumps(found.as_dict(), indent=1))
    command = f"python tools/demo_model/build.py --seed {options.seed} --steps {options.steps}"
    command += f" --workers {options.workers} --work WORK --out OUT"
    write_card(model, Made(command, options.seed, checkpoint), found)


def main() -> None:
    """Run all stages; each goes on from what an earlier run left in the work folder."""
    options = _arguments()
    spoken, checkpoint = options.work / "corpus", options.work / "checkpoint.pt"
    corpus.prepare(spoken, options.seed)
    train(Plan(spoken, checkpoint, options.seed, options.steps, options.workers, options.minutes))
    if options.until == "all":
        _publish(options, checkpoint)


if __name__ == "__main__":
    main()
