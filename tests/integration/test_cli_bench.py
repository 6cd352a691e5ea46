"""The command `bench`: the real command and the bundled model, on some seconds of speech."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from cesar_watch.core.instance import instance_lock, make_state_dir
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.measured import NAME, read_measured, write_measured
from cesar_watch.speech.memory import UNTOUCHED_BYTES, Use, needed_bytes, weights_in
from cesar_watch.speech.models import DEMO_DIR
from cesar_watch.speech.parallel import divisions, plan
from tests.builders import CORES, figure
from tests.processes import COMMAND, LIMIT_S, alive, children, command, drop, environment, service, until

DEMO = EngineSettings(model="demo")
WAYS = divisions(DEMO)
ONE_WAY = ("--set", "engine.workers=1", "--set", "engine.threads=1")
Bench = Callable[..., CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a spool in it; temporary files go to another one, `scratch`."""
    (tmp_path / "scratch").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    assert command("init", "spool", cwd=folder).returncode == 0
    return folder


def scratch_of(folder: Path) -> dict[str, str]:
    return {"TMPDIR": str(folder.parent / "scratch")}


@pytest.fixture
def bench(folder: Path) -> Bench:
    """Run the command in the folder."""

    def run(*asked: str, **settings: str) -> CompletedProcess[str]:
        return command("bench", "--seconds", "5", *asked, cwd=folder, **(scratch_of(folder) | settings))

    return run


def state_of(folder: Path) -> Path:
    return folder / "spool/.state"


# --- what is measured and told ----------------------------------------------------------------


def test_each_way_has_a_row_the_fastest_a_star_and_no_line_is_wider_than_a_terminal(bench: Bench, folder: Path) -> None:
    done = bench()
    rows = re.findall(r"^(\*?) +(\d+) +(\d+) +(\d+\.\d{3}) +\S.* [MG]B$", done.stdout, re.MULTILINE)

    assert done.returncode == 0
    assert [(int(workers), int(threads)) for _, workers, threads, _ in rows] == WAYS
    fastest = [float(rtf) for star, *_, rtf in rows if star]
    assert fastest == [min(float(rtf) for *_, rtf in rows)]
    assert f"\nThe model demo on cpu with int8_float32, {CORES} core" in done.stdout
    assert max(map(len, done.stdout.splitlines()[: 1 + len(rows)])) <= 80
    assert list((folder.parent / "scratch").iterdir()) == []


def test_json_holds_what_is_stored_and_which_is_the_fastest(bench: Bench, folder: Path) -> None:
    told: list[dict[str, Any]] = json.loads(bench("--json").stdout)
    is_best = [each.pop("is_best") for each in told]

    assert told == [figure.model_dump() for figure in read_measured(state_of(folder))]
    assert [(each["workers"], each["threads"]) for each in told] == WAYS
    assert is_best == [each["rtf"] == min(other["rtf"] for other in told) for each in told]
    assert all(each["rtf"] > 0 and each["peak_bytes"] > 50_000_000 for each in told)


def test_settings_are_measured_and_stored_as_they_were_asked_for(bench: Bench, folder: Path) -> None:
    assert bench(*ONE_WAY, "--set", "engine.compute_type=float32", "--set", "engine.batch_size=2").returncode == 0

    (stored,) = read_measured(state_of(folder))
    assert (stored.asked_device, stored.asked_compute_type) == ("auto", "float32")
    assert (stored.model, stored.device, stored.compute_type, stored.batch_size) == ("demo", "cpu", "float32", 2)
    assert (stored.workers, stored.threads, stored.cores) == (1, 1, CORES)


@pytest.mark.skipif(len(WAYS) == 1, reason="one core: there is but one way")
def test_ways_for_which_memory_is_too_small_are_left_out_and_named(bench: Bench) -> None:
    limit = needed_bytes(weights_in(DEMO_DIR / "model.bin"), Use()) + UNTOUCHED_BYTES
    done = bench("--json", "--set", f"engine.memory_limit_bytes={limit}")
    left_out = " and ".join(str(workers) for workers, _ in WAYS[1:])

    assert [each["workers"] for each in json.loads(done.stdout)] == [1]
    assert f"cesar-watch: Left out, for want of memory: {left_out} windows at once.\n" in done.stderr


def test_service_that_runs_is_said_to_make_figures_slower(bench: Bench, folder: Path) -> None:
    make_state_dir(state_of(folder))
    with instance_lock(state_of(folder)):
        told = bench(*ONE_WAY).stderr
    assert "cesar-watch: The service runs" in told
    assert "The service runs" not in bench(*ONE_WAY).stderr


def test_nothing_is_stored_where_there_is_no_spool(tmp_path: Path) -> None:
    done = command("bench", "--seconds", "5", *ONE_WAY, cwd=tmp_path)

    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    assert done.stderr == "cesar-watch: Nothing is stored: there is no spool here.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        (("--model", "./gone"), 3, "gone does not exist"),
        (("--set", "engine.nonsense=1"), 2, "settings are wrong"),
        (("--set", "engine.device=cuda"), 3, "CUDA"),
    ],
)
def test_what_can_not_be_measured_is_told_in_a_sentence(
    bench: Bench, folder: Path, asked: tuple[str, ...], status: int, told: str
) -> None:
    done = bench(*asked, CUDA_VISIBLE_DEVICES="")

    assert (done.returncode, done.stdout) == (status, "")
    assert re.match(rf"cesar-watch: [^\n]*{told}", done.stderr)
    assert not (state_of(folder) / NAME).exists()
    assert list((folder.parent / "scratch").iterdir()) == []


@pytest.mark.parametrize(("asking", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_it_and_leaves_no_file_and_no_process(folder: Path, asking: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        [*COMMAND, "bench", "--seconds", "600"],
        cwd=folder,
        env=environment(**scratch_of(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            engine = until(lambda: engine_of(process.pid), "the engine")
            process.send_signal(asking)
            told, said = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()

    assert (process.returncode, told) == (status, b"")
    assert b"Traceback" not in said
    assert not alive(engine)
    assert list((folder.parent / "scratch").iterdir()) == []
    assert not (state_of(folder) / NAME).exists()


# --- what it is good for ------------------------------------------------------------------------


def engine_of(pid: int) -> int | None:
    """Return the id of a process's engine while there is one."""
    return next((child for child in children(pid) if "cesar_watch.speech.engine_main" in arguments(child)), None)


def arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(1, (3, 5)), (2, plan(DEMO))], ids=["measured", "with-other-settings-than-measured"]
)
def test_service_that_starts_afterwards_works_as_it_was_fastest_with_its_settings(
    folder: Path, batch_size: int, expected: tuple[int, int]
) -> None:
    make_state_dir(state_of(folder))
    write_measured(state_of(folder), [figure(model="demo", batch_size=1, workers=3, threads=5)])
    settings = {"CESAR_WATCH_SPOOL__QUIET_S": "0.3", "CESAR_WATCH_ENGINE__BATCH_SIZE": str(batch_size)}
    drop("meeting.m4a", folder / "spool/inbox")
    with service(folder, **settings) as process:
        engine = until(lambda: engine_of(process.pid), "the engine")
        setup = json.loads(next(each for each in arguments(engine) if each.startswith("{")))

    assert (setup["workers"], setup["threads"]) == expected
