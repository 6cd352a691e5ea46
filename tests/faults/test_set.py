"""The set of sweeps as a whole: what was run is not run again, and pieces of a sweep make one row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import __main__ as module


class Sweeps:
    """Sweeps that end at once; `failing` are those that find something."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.failing: set[str] = set()

    def __call__(self, sweep: str) -> dict[str, Any]:
        self.run.append(sweep)
        row = {"sweep": "kill", "what": "kills", "points": 2, "violations": 0, "took_s": 60.0}
        return {"sweep": sweep, "failed": sweep in self.failing, "rows": [row], "day": "2026-03-01", "took_s": 60.0}


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
    monkeypatch.setattr(module, "_code", lambda: "other")
    module.main()
    assert sweeps.run == ["one", "two", "one", "two"]


def test_table_has_one_row_for_a_sweep_in_pieces(sweeps: Sweeps, capsys: pytest.CaptureFixture[str]) -> None:
    module.main()
    table = capsys.readouterr().out
    assert "| kill | 4 | kills | 0 | 2 min |" in table
    assert "Run on 2026-03-01 in 2 min" in table
    assert sweeps.run == ["one", "two"]
