"""How the cores are divided between windows: by the settings, by what was measured, and what that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.engines import division
from cesar_watch.speech.measured import NAME, best, read_measured, write_measured
from cesar_watch.speech.models import DEMO_DIR
from cesar_watch.speech.parallel import MOST_WORKERS, divisions, plan
from tests.builders import CORES, figure


def settings(**keys: Any) -> EngineSettings:
    return EngineSettings.model_validate({"model": "small", **keys})


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, (1, 1)), (2, (2, 1)), (4, (4, 1)), (8, (MOST_WORKERS, 2)), (30, (MOST_WORKERS, 7))]
)
def test_cores_are_divided_between_windows(cores: int, expected: tuple[int, int]) -> None:
    assert plan(settings(), cores=cores) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"workers": 1}, (1, 8)),
        ({"workers": 16}, (16, 1)),
        ({"threads": 4}, (2, 4)),
        ({"threads": 99}, (1, 99)),
        ({"workers": 3, "threads": 7}, (3, 7)),
    ],
)
def test_what_the_settings_say_holds(keys: dict[str, int], expected: tuple[int, int]) -> None:
    assert plan(settings(**keys), cores=8) == expected


def test_what_they_leave_open_takes_no_more_memory_than_there_is_and_leaves_no_core_idle() -> None:
    assert division(settings(memory_limit_bytes=1), DEMO_DIR) == (1, CORES)
    assert division(settings(memory_limit_bytes=1, workers=3, threads=2), DEMO_DIR) == (3, 2)


def test_what_they_leave_open_is_as_it_was_fastest() -> None:
    figures = [figure(workers=2, threads=1, rtf=0.2), figure(workers=1, threads=2, rtf=0.15)]
    assert plan(settings(), figures) == (1, 2)
    assert plan(settings(workers=2), figures) == (2, 1)


@pytest.mark.parametrize(
    "other",
    [{"model": "tiny"}, {"batch_size": 4}, {"cores": CORES + 1}],
    ids=["another-model", "another-batch-size", "other-cores"],
)
def test_figures_of_something_else_do_not_count(other: dict[str, Any]) -> None:
    assert best([figure(**other)], settings()) is None


@pytest.mark.parametrize(
    "keys", [{"device": "cuda"}, {"compute_type": "float32"}, {"compute_type": "auto"}, {"workers": 1}, {"threads": 1}]
)
def test_figures_that_the_settings_rule_out_do_not_count(keys: dict[str, Any]) -> None:
    assert best([figure()], settings(**keys)) is None


@pytest.mark.parametrize(
    "keys",
    [{}, {"device": "cpu"}, {"compute_type": "int8_float32"}, {"device": "cpu", "compute_type": "int8_float32"}],
    ids=["as-they-were-measured", "its-device", "its-numbers", "both"],
)
def test_figures_count_for_settings_that_name_what_the_model_ran_on(keys: dict[str, Any]) -> None:
    assert best([figure()], settings(**keys)) == figure()


@pytest.mark.parametrize("asked", [{"asked_device": "cpu"}, {"asked_compute_type": "int8_float32"}])
def test_figures_of_a_named_device_or_named_numbers_do_not_count_where_the_machine_chooses(
    asked: dict[str, Any],
) -> None:
    assert best([figure(**asked)], settings()) is None


@pytest.mark.parametrize(
    ("keys", "cores", "expected"),
    [
        ({}, 1, [(1, 1)]),
        ({}, 2, [(1, 2), (2, 1)]),
        ({}, 6, [(1, 6), (2, 3), (4, 1), (6, 1)]),
        ({}, 16, [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)]),
        ({"workers": 3}, 16, [(3, 5)]),
        ({"threads": 4}, 16, [(1, 4), (2, 4), (4, 4)]),
        ({"workers": 3, "threads": 7}, 2, [(3, 7)]),
    ],
)
def test_ways_that_are_worth_measuring_are_those_that_the_settings_leave_open(
    keys: dict[str, int], cores: int, expected: list[tuple[int, int]]
) -> None:
    assert divisions(settings(**keys), cores=cores) == expected


def test_figures_are_read_back_and_newer_ones_take_the_place_of_those_of_the_same_way(tmp_path: Path) -> None:
    write_measured(tmp_path, [figure(workers=1), figure(workers=2)])
    write_measured(tmp_path, [figure(model="tiny")])
    write_measured(tmp_path, [figure(workers=2, rtf=0.3)])
    assert read_measured(tmp_path) == (figure(workers=1), figure(model="tiny"), figure(workers=2, rtf=0.3))


def test_figures_of_a_device_on_which_the_model_does_not_run_any_more_go(tmp_path: Path) -> None:
    write_measured(tmp_path, [figure(workers=1, device="cuda", compute_type="float16")])
    write_measured(tmp_path, [figure(workers=2)])
    assert read_measured(tmp_path) == (figure(workers=2),)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"figures": [{}]}'])
def test_file_that_cannot_be_understood_is_as_good_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    assert read_measured(tmp_path) == ()
