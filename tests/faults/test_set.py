"""The set of sweeps as a whole: what was run is not run again, and pieces of a sweep make one row."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import cesar_watch
from tests.faults import __main__ as module
from tests.faults.scenarios import make_place, scenario


class Sweeps:
    """Sweeps that end at once; `failing` are those that find something."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.failing: set[str] = set()
        self.commit = "abcdef0"

    def __call__(self, sweep: str) -> dict[str, Any]:
        self.run.append(sweep)
        row = {"sweep": "kill", "what": "kills", "points": 2, "violations": 0, "took_s": 60.0}
        note = {"sweep": sweep, "failed": sweep in self.failing, "rows": [row], "day": "2026-03-01", "took_s": 60.0}
        return note | {"commit": self.commit}


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    made = Sweeps()
    monkeypatch.setattr(module, "_run", made)
    monkeypatch.setattr(module, "PER_COMMIT", ("one", "two"))
    monkeypatch.setattr(sys, "argv", ["faults", "--keep", str(tmp_path / "kept")])
    return made


def test_sweep_that_found_something_is_run_again_and_no_other(sweeps: Sweeps) -> None:
    sweeps.failing = {"two"}
    assert module.main() == 1
    sweeps.failing = set()
    assert module.main() == 0
    assert sweeps.run == ["one", "two", "two"]
    assert module.main() == 0
    assert sweeps.run == ["one", "two", "two"]


def test_code_that_changed_makes_everything_run_again(sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    module.main()
    monkeypatch.setattr(module, "_code", lambda _: "other")
    module.main()
    assert sweeps.run == ["one", "two", "one", "two"]


def test_table_of_what_older_code_was_run_with_too_names_the_commits(
    sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps.failing = {"two"}
    module.main()
    sweeps.failing, sweeps.commit = set(), "1234567"
    monkeypatch.setattr(module, "_code", lambda _: "other")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--older"])
    capsys.readouterr()
    module.main()
    assert sweeps.run == ["one", "two", "two"]
    assert "| kill | 4 | kills | 0 | 2 min | abcdef0, 1234567 |" in capsys.readouterr().out


def test_every_file_that_a_life_uses_is_part_of_the_code_of_its_sweep(tmp_path: Path) -> None:
    product = str(Path(cesar_watch.__file__).parent)
    used: set[Path] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(product):
            used.add(Path(frame.f_code.co_filename))

    place = make_place(tmp_path)
    one = scenario("one")
    one.prepare(place)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        one.live(place)
    finally:
        sys.setprofile(before)
    assert {path.name for path in used} >= {"checkpoint.py", "transcribe.py"}
    assert used <= set(module._sources("tests.faults.sweep kill"))


def test_engine_is_part_of_the_code_of_the_sweep_that_has_one() -> None:
    engine = {path for path in module.ROOT.glob("cesar_watch/speech/*.py") if path.stem in ("scheduler", "hearing")}
    assert engine <= set(module._sources(module.WITH_ENGINE))
    assert not engine & set(module._sources("tests.faults.power"))


@pytest.mark.parametrize(
    ("sweep", "used", "unused"),
    [
        ("tests.faults.sweep kill", {"scenarios", "life", "checker", "preload"}, {"power", "storm_fork", "launch"}),
        ("tests.faults.power --points 7", {"power", "disks", "sweep", "checker"}, {"small_disks", "seeded"}),
        ("tests.faults.storm fork --kills 7", {"storm_fork", "storm_life", "checker"}, {"launch", "power"}),
        (module.WITH_ENGINE, {"storm_real", "storm_spool", "launch", "checker"}, {"power"}),
        ("tests.faults.hunt", {"seeded", "power", "sweep", "checker"}, {"launch", "small_disks"}),
    ],
)
def test_code_of_a_sweep_is_that_of_the_harness_that_it_uses(sweep: str, used: set[str], unused: set[str]) -> None:
    stems = {path.stem for path in module._sources(sweep) if path.parent == Path(module.__file__).parent}
    assert stems >= used | {"faultline"}
    assert not stems & unused


def test_comments_and_docstrings_are_no_code(tmp_path: Path) -> None:
    texts = (
        '"""A."""\nX = 1\n"""One."""\n\ndef f():\n    """B."""\n    return X\n',
        "X = 1  # more\n\n\ndef f():\n    return X\n",
        "X = 2\n\n\ndef f():\n    return X\n",
    )
    meanings = []
    for number, text in enumerate(texts):
        path = tmp_path / f"module_{number}.py"
        path.write_text(text)
        meanings.append(module._meaning(path))
    assert meanings[0] == meanings[1] != meanings[2]


def test_table_has_one_row_for_a_sweep_in_pieces(sweeps: Sweeps, capsys: pytest.CaptureFixture[str]) -> None:
    module.main()
    table = capsys.readouterr().out
    assert "| kill | 4 | kills | 0 | 2 min | abcdef0 |" in table
    assert "Run on 2026-03-01 in 2 min" in table
    assert sweeps.run == ["one", "two"]
