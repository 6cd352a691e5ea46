"""What came out of a soak test, as Markdown."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tests.soak.soak import Result, is_violation


def lines(results: Sequence[Result], *, seed: int, took_s: float) -> Iterator[str]:
    """Yield a table of outcomes by container, then the slowest, the largest, and where and when it was."""
    outcomes = [outcome for outcome, _ in Counter(result.outcome for result in results).most_common()]
    counts = Counter((result.container, result.outcome) for result in results)
    yield f"| container | inputs | {' | '.join(outcomes)} |"
    yield f"|---|{'--:|' * (1 + len(outcomes))}"
    for container in sorted({result.container for result in results}):
        row = [counts[container, outcome] for outcome in outcomes]
        yield f"| {container} | {sum(row)} | {' | '.join(str(count or '') for count in row)} |"
    totals = [sum(1 for result in results if result.outcome == outcome) for outcome in outcomes]
    yield f"| all | {len(results)} | {' | '.join(map(str, totals))} |"
    slowest = max(results, key=lambda result: result.ending.took_s)
    largest = max(results, key=lambda result: result.ending.peak_bytes)
    yield ""
    yield f"{sum(map(is_violation, results))} violations in {len(results)} inputs, seed {seed}, {took_s:.0f} s."
    yield f"Slowest: {slowest.ending.took_s:.1f} s for {slowest.ending.decoded_s:.0f} s of sound ({_which(slowest)})."
    yield f"Most memory: {largest.ending.peak_bytes >> 20} MB ({_which(largest)})."
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    yield f"Run on {datetime.now(UTC).strftime('%Y-%m-%d')} on {machine}."


def _which(result: Result) -> str:
    return f"input {result.number}, {result.made_of}, {result.size_bytes} bytes"
