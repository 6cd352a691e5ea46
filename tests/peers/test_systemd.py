"""The units, judged by systemd itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def _analyze(*args: str, runtime: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    return subprocess.run(
        ["systemd-analyze", *args], capture_output=True, text=True, timeout=30, check=False, env=environment
    )


def test_system_unit_passes_verify(tmp_path: Path) -> None:
    verified = _analyze("verify", str(UNITS / "cesar-watch.service"), runtime=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_user_unit_passes_verify(tmp_path: Path) -> None:
    verified = _analyze("verify", "--user", str(UNITS / "user/cesar-watch.service"), runtime=tmp_path)
    assert verified.returncode == 0, verified.stderr


def test_system_unit_is_hardened_below_an_exposure_of_1_5(tmp_path: Path) -> None:
    unit = str(UNITS / "cesar-watch.service")
    judged = _analyze("security", "--offline=true", "--threshold=15", unit, runtime=tmp_path)
    assert judged.returncode == 0, judged.stdout.splitlines()[-1:]


def test_system_unit_has_one_writable_path() -> None:
    lines = (UNITS / "cesar-watch.service").read_text().splitlines()
    assert [line for line in lines if line.startswith("ReadWritePaths=")] == ["ReadWritePaths=/srv/cesar-watch"]
