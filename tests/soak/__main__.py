"""Decode thousands of damaged recordings: each must end in sound or in an error of ours, soon and in little memory.

    python -m tests.soak --inputs 3000 --seed 1 [--shards 2]      make soak
    python -m tests.soak --seed 1 --only 1234 --keep /tmp/found   one of them again, kept if it ends as before

Ends with 1 where one ended otherwise. Such inputs, and those that crashed a codec, are kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.soak.soak import Soak, is_violation, soak
from tests.soak.table import lines


def main() -> int:
    """Run the soak test, print its table."""
    options = _parser().parse_args()
    numbers = range(options.inputs) if options.only is None else range(options.only, options.only + 1)
    began_s = time.monotonic()
    results = soak(Soak(seed=options.seed, keep=options.keep), numbers, shards=options.shards, say=_say)
    for line in lines(results, seed=options.seed, took_s=time.monotonic() - began_s):
        _say(line)
    return 1 if any(map(is_violation, results)) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--inputs", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=os.cpu_count() or 1, help="so many at a time")
    parser.add_argument("--only", type=int, help="the number of one input")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/cesar-soak"), help="where inputs worth a look are kept")
    return parser


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
