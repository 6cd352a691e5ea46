"""Memory: what a model needs, what there is, and what is said when the one is more than the other."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.memory import (
    MB,
    UNTOUCHED_BYTES,
    Use,
    Weights,
    available_bytes,
    known_weights,
    memory_warning,
    needed_bytes,
    shortage,
    weights_in,
)
from cesar_watch.speech.models import DEMO_DIR

SMALL = Weights(244_000_000)


# --- what a model needs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("millions", "use", "measured_mb"),
    [
        (40, Use("int8", 60), 346),
        (40, Use("int8", 300), 483),
        (40, Use("int8", 300, workers=2), 599),
        (40, Use("int8", 60, batch_size=4), 432),
        (40, Use("int8", 300, workers=2, batch_size=4), 996),
        (76, Use("int8", 300), 484),
        (76, Use("int8", 300, workers=2), 734),
        (76, Use("int8", 60, batch_size=4), 507),
        (76, Use("int8", 300, workers=2, batch_size=4), 1243),
        (76, Use("float32", 60), 633),
        (247, Use("int8", 60), 626),
        (247, Use("int8", 300), 742),
    ],
)
def test_estimate_is_near_what_was_measured(millions: int, use: Use, measured_mb: int) -> None:
    estimate = needed_bytes(Weights(millions * 1_000_000, "int8"), use)
    assert 0.9 < estimate / (measured_mb * MB) < 1.2


@pytest.mark.parametrize(
    ("compute_type", "stored", "bytes_each"),
    [
        ("default", "int8", 1),
        ("default", "int16", 2),
        ("default", "float16", 4),
        ("default", "bfloat16", 4),
        ("default", "float32", 4),
        ("auto", "float16", 1),
        ("int8_float32", "float16", 1),
        ("int16", "float16", 2),
        ("float32", "int8", 4),
    ],
)
def test_weights_take_what_they_are_computed_with_and_not_what_they_are_stored_in(
    compute_type: str, stored: str, bytes_each: int
) -> None:
    use = Use()._replace(compute_type=compute_type)  # type: ignore[arg-type]
    more, fewer = (needed_bytes(Weights(number, stored), use) for number in (2_000_000_000, 1_000_000_000))
    working = 10.5 * MB * (2000**0.5 - 1000**0.5)
    assert round((more - fewer - working) / 1e9, 3) == bytes_each


def model_bin(folder: Path, kind: int, filler_bytes: int) -> Path:
    """Write a model.bin with an empty first variable, and embeddings of that kind behind it."""

    def variable(name: bytes, kind: int, data: bytes) -> bytes:
        shape = struct.pack("<BI", 1, len(data))
        return struct.pack("<H", len(name) + 1) + name + b"\0" + shape + struct.pack("<BI", kind, len(data)) + data

    head = struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, 2)
    embeddings = variable(b"decoder/embeddings/weight", kind, bytes(filler_bytes))
    path = folder / "model.bin"
    path.write_bytes(head + variable(b"decoder/activation", 1, b"x") + embeddings)
    return path


@pytest.mark.parametrize(
    ("kind", "stored", "size"), [(0, "float32", 4), (1, "int8", 1), (2, "int16", 2), (4, "float16", 2)]
)
def test_weights_in_a_model_are_counted_by_its_size_and_their_type(
    tmp_path: Path, kind: int, stored: str, size: int
) -> None:
    path = model_bin(tmp_path, kind, 80_000)
    assert weights_in(path) == Weights(path.stat().st_size // size, stored)


def test_weights_in_the_bundled_model_are_stored_in_eight_bits() -> None:
    assert weights_in(DEMO_DIR / "model.bin").stored == "int8"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100])
def test_weights_in_a_file_of_another_kind_count_as_halves(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    assert weights_in(tmp_path / "model.bin") == Weights(len(content) // 2, "float16")


# --- what there is --------------------------------------------------------------------------


def machine(root: Path, **groups: tuple[str, int, int]) -> Path:
    """Make /proc and /sys of a machine with 8 GB available, with groups inside each other: limit, use, files' share."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:  16000000 kB\nMemAvailable:   8000000 kB\n")
    (root / "proc/self/cgroup").write_text(f"4:memory:/elsewhere\n0::/{'/'.join(groups)}\n")
    folder = root / "sys/fs/cgroup"
    folder.mkdir(parents=True)
    for name, (limit, current, files) in groups.items():
        folder = folder / name
        folder.mkdir()
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{current}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")
    return root


def test_memory_without_groups_is_what_the_machine_can_give(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path)) == 8_000_000 * 1024


def test_memory_in_a_group_is_what_it_has_left_and_what_files_hold(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, service=("1000000", 600_000, 50_000))) == 450_000


def test_memory_in_groups_is_that_of_the_narrowest(tmp_path: Path) -> None:
    groups = {"outer": ("700000", 500_000, 0), "inner": ("1000000", 100_000, 0)}
    assert available_bytes(machine(tmp_path, **groups)) == 200_000


def test_memory_in_a_group_without_a_limit_is_the_machines(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, service=("max", 600_000, 0))) == 8_000_000 * 1024


def test_memory_in_a_group_that_is_over_its_limit_is_none(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, service=("100", 600, 0))) == 0


def test_memory_where_the_machine_tells_nothing_is_all_it_has(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) > available_bytes() > 0


# --- what is said ---------------------------------------------------------------------------


def test_model_that_fits_is_not_spoken_of() -> None:
    assert shortage("small", SMALL, Use(), needed_bytes(SMALL, Use())) is None


def test_model_that_does_not_fit_is_told_with_both_figures_and_what_would_fit() -> None:
    told = shortage("small", SMALL, Use(window_s=300.0), 900 * MB)
    assert told is not None
    for part in ("The model small needs about 1.5 GB", "900.0 MB", 'compute_type = "int8"', 'model = "base"'):
        assert part in told


def test_model_that_does_not_fit_is_replaced_by_the_best_that_does() -> None:
    large = known_weights("large-v3")
    assert large is not None
    told = [shortage("large-v3", large, Use(), gigabytes * 1000 * MB) for gigabytes in (6, 2)]
    assert ['"large-v3-turbo"' in str(told[0]), '"small"' in str(told[1])] == [True, True]


def test_model_for_english_that_does_not_fit_is_replaced_by_one_for_english() -> None:
    assert 'model = "base.en"' in str(shortage("small.en", SMALL, Use(), 900 * MB))


def test_model_that_fits_no_better_with_other_numbers_is_not_offered_them() -> None:
    assert "compute_type" not in str(shortage("small", SMALL, Use("int8"), 700 * MB))


def test_model_where_nothing_would_fit_is_told_without_advice_that_does_not_help() -> None:
    told = str(shortage("small", SMALL, Use(), MB))
    assert "engine." not in told


def test_model_counts_against_the_engines_memory_limit_too() -> None:
    limited = EngineSettings(memory_limit_bytes=100 * MB + UNTOUCHED_BYTES)
    assert "100.0 MB" in str(memory_warning(limited, DEMO_DIR))
    assert memory_warning(limited.model_copy(update={"isolation": "thread"}), DEMO_DIR) is None


def test_model_on_a_gpu_is_not_counted() -> None:
    assert memory_warning(EngineSettings(memory_limit_bytes=100 * MB, device="cuda"), DEMO_DIR) is None


def test_model_that_can_not_be_read_is_not_spoken_of(tmp_path: Path) -> None:
    assert memory_warning(EngineSettings(memory_limit_bytes=1), tmp_path / "gone") is None
