"""The soak test itself: which inputs there are, and which endings are allowed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from random import Random

from cesar_watch.core.recording_settings import Channels
from tests.soak.damage import damaged
from tests.soak.nursery import Ending, Nursery, Request, nursery
from tests.soak.recordings import Recording, content_of, recordings

MAX_DURATION_S = 600.0
PEAK_BYTES = 512 << 20
"""No input of some megabytes may need more memory."""
START_S = 5.0
LEAST_SPEED = 20.0
"""Decoding takes a start, and a second of processor time for so many seconds of sound."""
REASONS = {
    "empty_file",
    "not_media",
    "no_audio",
    "unsupported_codec",
    "unsupported_rate",
    "too_many_channels",
    "too_long",
    "nothing_decoded",
}
"""Why a recording may be refused by what is in it."""


@dataclass(frozen=True)
class Input:
    """A damaged recording."""

    number: int
    container: str
    made_of: str
    content: bytes
    channels: Channels


@dataclass(frozen=True)
class Result:
    """What became of an input; its `made_of` tells the recording and the damage."""

    number: int
    container: str
    made_of: str
    size_bytes: int
    ending: Ending

    @property
    def outcome(self) -> str:
        """In a word or two: `decoded`, a reason of ours, or what must not be."""
        ending = self.ending
        if ending.how in ("decoded", "refused"):
            if ending.peak_bytes > PEAK_BYTES:
                return "too much memory"
            if ending.took_s > START_S + ending.decoded_s / LEAST_SPEED:
                return "too slow"
        if ending.how == "refused":
            return ending.reason if ending.reason in REASONS else f"unknown reason {ending.reason}"
        return {"crashed": "crashed in the codec", "foreign": "not ours"}.get(ending.how, ending.how)


def is_violation(result: Result) -> bool:
    """Whether it must not have ended so. A crash in a codec is what the engine's own process is for."""
    return result.outcome not in REASONS | {"decoded", "crashed in the codec"}


@dataclass(frozen=True)
class Soak:
    """All inputs of a seed, by their numbers; the containers take turns.

    Attributes:
        keep: Where inputs are kept that must not have ended as they did, or that crashed a codec.
    """

    seed: int
    keep: Path

    @cached_property
    def _families(self) -> list[list[Recording]]:
        by_container = sorted(recordings(), key=lambda one: (one.container, one.name))
        return [list(family) for _, family in groupby(by_container, key=lambda one: one.container)]

    def input(self, number: int) -> Input:
        """Return an input: each time the same damage to the same recording, but for ids that its writer draws anew."""
        random = Random(f"{self.seed}/{number}")
        one, content = self._drawn(random, self._families[number % len(self._families)])
        _, other = self._drawn(random, random.choice(self._families))
        content, how = damaged(random, content, other)
        return Input(number, one.container, f"{one.name}, {how}", content, random.choice(("mix", "split")))

    def _drawn(self, random: Random, family: Sequence[Recording]) -> tuple[Recording, bytes]:
        for one in random.sample(family, len(family)):
            content = content_of(one)
            if content is not None:
                return one, content
        return self._drawn(random, random.choice(self._families))

    def result(self, number: int, path: Path, nursery: Nursery) -> Result:
        """Decode an input, by way of a file."""
        made = self.input(number)
        path.write_bytes(made.content)
        ending = nursery.ending(Request(str(path), made.channels, MAX_DURATION_S))
        result = Result(number, made.container, made.made_of, len(made.content), ending)
        if is_violation(result) or ending.how == "crashed":
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / f"{self.seed}-{number}-{made.made_of.partition(',')[0]}").write_bytes(made.content)
        return result


def soak(whole: Soak, numbers: Sequence[int], *, shards: int, say: Callable[[str], None]) -> list[Result]:
    """Decode these inputs, several at a time, and return what became of each, in their order."""

    def shard(first: int) -> Iterator[Result]:
        with tempfile.TemporaryDirectory(prefix="cesar-soak-", dir=_ram()) as folder, nursery() as children:
            for number in numbers[first::shards]:
                result = whole.result(number, Path(folder) / "recording", children)
                if is_violation(result) or result.ending.how == "crashed":
                    say(f"{number}: {result.outcome}: {result.made_of}: {result.ending}")
                yield result

    with ThreadPoolExecutor(shards) as threads:
        results = [result for part in threads.map(lambda first: list(shard(first)), range(shards)) for result in part]
    return sorted(results, key=lambda result: result.number)


def _ram() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
