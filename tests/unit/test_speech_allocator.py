from __future__ import annotations

import numpy as np
import pytest

from cesar_watch.speech.allocator import TUNABLES, environment
from cesar_watch.speech.room import room


@pytest.mark.parametrize(
    ("own", "told"), [("", TUNABLES), ("glibc.malloc.arena_max=4", f"{TUNABLES}:glibc.malloc.arena_max=4")]
)
def test_engines_environment_is_ours_with_the_tunables_and_what_a_person_set_comes_last(
    monkeypatch: pytest.MonkeyPatch, own: str, told: str
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", own)
    monkeypatch.setenv("HOME", "/elsewhere")
    assert (environment()["GLIBC_TUNABLES"], environment()["HOME"]) == (told, "/elsewhere")


@pytest.mark.parametrize("shape", [(1, 0), (2, 3)])
def test_room_is_of_zeros_that_can_be_written_over(shape: tuple[int, int]) -> None:
    found = room(*shape)
    assert (found.shape, found.dtype, found.sum()) == (shape, np.dtype(np.float32), 0)
    found += 1
    assert found.sum() == shape[0] * shape[1]


def test_room_that_no_machine_has_is_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        room(1 << 20, 1 << 30)
