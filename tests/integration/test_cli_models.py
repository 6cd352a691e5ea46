"""The commands about models, in front of a hub on loopback, of one that is not there, and of a cache made by hand."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from cesar_watch.speech.models import DEMO_DIR, SIZES
from tests.fake_hub import FakeHub, demo_files, fake_hub
from tests.processes import COMMAND, LIMIT_S, command, environment, until

TINY = SIZES["tiny"]
NOBODY = "http://127.0.0.1:9"
"""Port 9 on this machine refuses: no test reaches for the real hub."""
CHUNK = 10 * 1024 * 1024
"""What the hub's client writes at a time."""

Models = Callable[..., subprocess.CompletedProcess[str]]


def online(home: Path, url: str = NOBODY) -> dict[str, str]:
    return {"HF_HOME": str(home / "hf"), "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"}


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """Run `cesar-watch models` where there is no configuration and an empty cache, in front of a hub or of nobody."""

    def run(*words: str, hub: FakeHub | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        return command("models", *words, cwd=tmp_path, **(online(tmp_path, hub.url if hub else NOBODY) | more))

    return run


def pulling(folder: Path, hub: FakeHub, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Begin to pull a model, beside the test."""
    return subprocess.Popen(
        [*COMMAND, "models", "pull", "tiny"],
        cwd=folder,
        env=environment(**online(folder, hub.url)),
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


# --- pull -----------------------------------------------------------------------------------


def test_pull_brings_the_needed_files_and_says_where_they_are(models: Models) -> None:
    with fake_hub(TINY, demo_files()) as hub:
        pulled = models("pull", "tiny", hub=hub)
    assert pulled.returncode == 0, pulled.stderr
    folder = Path(pulled.stdout.strip().rpartition(" ")[2])
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {name: content for name, content in hub.files.items() if name != "README.md"}
    assert models("path", "tiny").stdout == f"{folder}\n"


def test_pull_on_a_terminal_shows_how_far_the_weights_are(tmp_path: Path) -> None:
    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with fake_hub(TINY, demo_files()) as hub:
        process = pulling(tmp_path, hub, stderr=its_end)
        os.close(its_end)
        seen = b""
        with contextlib.suppress(OSError):  # so a terminal ends
            while more := os.read(terminal, 65536):
                seen += more
        assert process.wait(LIMIT_S) == 0
    os.close(terminal)
    assert re.search(rb"model\.bin:\s+100%", seen)


def test_pull_of_a_hub_id_brings_that_model(models: Models) -> None:
    with fake_hub("somebody/whisper", demo_files()) as hub:
        assert models("pull", "somebody/whisper", hub=hub).returncode == 0
    assert models("path", "somebody/whisper").returncode == 0


def test_pull_of_what_is_on_disk_says_so_and_asks_nobody(models: Models) -> None:
    with fake_hub(TINY, demo_files()) as hub:
        models("pull", "tiny", hub=hub)
        hub.asked.clear()
        told = [models("pull", name, hub=hub).stdout for name in ("tiny", "demo", str(DEMO_DIR))]
    assert ["is on disk already" in words for words in told] == [True, True, True]
    assert hub.asked == []


def test_pull_that_was_killed_goes_on_where_it_was(models: Models, tmp_path: Path) -> None:
    with fake_hub(TINY, demo_files(2 * CHUNK)) as hub:
        hub.stalls_after = CHUNK + 1000
        first = pulling(tmp_path, hub)
        assert hub.stalled.wait(LIMIT_S)
        until(
            lambda: [part for part in tmp_path.rglob("*.cesar-part") if part.stat().st_size == CHUNK], "the first part"
        )
        assert models("path", "tiny").returncode == 3
        first.send_signal(signal.SIGKILL)
        first.wait()
        hub.stalls_after = None
        assert models("pull", "tiny", hub=hub).returncode == 0
        assert hub.begun_at("model.bin") == [0, CHUNK]
    folder = Path(models("path", "tiny").stdout.strip())
    assert (folder / "model.bin").read_bytes() == hub.files["model.bin"]
    assert list(tmp_path.rglob("*.cesar-part")) == []


def test_pull_whose_connection_breaks_goes_on_where_it_was(models: Models) -> None:
    with fake_hub(TINY, demo_files(2 * CHUNK)) as hub:
        hub.breaks_after = CHUNK + 1000
        # New versions of the hub's client try again by themselves, older ones leave it to a second pull.
        models("pull", "tiny", hub=hub)
        assert models("pull", "tiny", hub=hub).returncode == 0
        first, second = hub.begun_at("model.bin")
    assert (first, second >= CHUNK) == (0, True)


def test_pull_whose_part_is_spoiled_throws_it_away_and_begins_anew_the_next_time(
    models: Models, tmp_path: Path
) -> None:
    with fake_hub(TINY, demo_files()) as hub:
        sha256 = hub.tree()[1]["lfs"]["oid"]
        blobs = tmp_path / "hf/hub" / f"models--{TINY.replace('/', '--')}" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{sha256}.cesar-part").write_bytes(bytes(1000))
        spoiled = models("pull", "tiny", hub=hub)
        assert spoiled.returncode == 3
        assert "thrown away" in spoiled.stderr
        assert models("pull", "tiny", hub=hub).returncode == 0
        assert hub.begun_at("model.bin") == [1000, 0]


def test_two_pulls_at_once_fetch_the_weights_once(models: Models, tmp_path: Path) -> None:
    with fake_hub(TINY, demo_files()) as hub:
        both = [pulling(tmp_path, hub) for _ in range(2)]
        assert [process.wait(LIMIT_S) for process in both] == [0, 0]
        assert hub.begun_at("model.bin") == [0]
    assert models("path", "tiny").returncode == 0


def test_pull_without_a_network_exits_3_and_says_how_to_do_without(models: Models) -> None:
    pulled = models("pull", "tiny")
    assert pulled.returncode == 3
    assert pulled.stderr.count("cesar-watch: ") == 1
    for part in ("could not be fetched", "models pull tiny", "models path tiny", "engine.model"):
        assert part in pulled.stderr


def test_pull_where_the_hub_may_not_be_asked_exits_3(models: Models) -> None:
    assert models("pull", "tiny", HF_HUB_OFFLINE="1").returncode == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [("somebody/else", "knows no model"), ("enormous", "neither a folder"), ("./gone", "does not exist")],
)
def test_pull_of_a_model_that_nobody_knows_exits_3_and_says_so(models: Models, name: str, words: str) -> None:
    with fake_hub(TINY, demo_files()) as hub:
        pulled = models("pull", name, hub=hub)
    assert pulled.returncode == 3
    assert words in pulled.stderr


def test_pull_of_what_is_no_model_for_faster_whisper_exits_3_and_says_so(models: Models) -> None:
    with fake_hub("openai/whisper-tiny", {"model.safetensors": b"x"}) as hub:
        pulled = models("pull", "openai/whisper-tiny", hub=hub)
    assert pulled.returncode == 3
    assert "CTranslate2" in pulled.stderr


def test_pull_of_an_incomplete_model_exits_3_and_names_what_it_lacks(models: Models) -> None:
    files = demo_files()
    del files["tokenizer.json"]
    with fake_hub(TINY, files) as hub:
        pulled = models("pull", "tiny", hub=hub)
    assert pulled.returncode == 3
    assert "lacks tokenizer.json" in pulled.stderr


# --- path -----------------------------------------------------------------------------------


def test_path_of_a_model_that_is_absent_exits_3_and_names_pull(models: Models) -> None:
    told = models("path", "small")
    assert (told.returncode, told.stdout) == (3, "")
    assert "models pull small" in told.stderr


def test_path_without_a_name_is_that_of_the_settings(models: Models, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[engine]\nmodel = "demo"\n')
    assert models("path").stdout == f"{DEMO_DIR}\n"
    assert json.loads(models("path", "--json").stdout) == {"model": "demo", "folder": str(DEMO_DIR)}


def test_path_without_a_name_and_without_settings_exits_2(models: Models) -> None:
    assert models("path").returncode == 2


# --- list -----------------------------------------------------------------------------------


def test_list_fits_80_columns_and_marks_the_model_of_the_settings(models: Models, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[engine]\nmodel = "turbo"\n')
    lines = models("list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[1] for line in lines if line.startswith("* ")] == ["large-v3-turbo"]


def test_list_tells_of_each_known_size_once_what_it_takes(models: Models) -> None:
    listed = json.loads(models("list", "--json").stdout)
    assert {SIZES.get(model["model"]) for model in listed} == {None, *SIZES.values()}
    assert len(listed) == 1 + len(set(SIZES.values()))
    assert [model["model"] for model in listed if model["folder"]] == ["demo"]
    assert not any(model["in_settings"] for model in listed)
    assert all(model["size_bytes"] and model["memory_bytes"] and model["languages"] for model in listed)


def test_list_has_what_else_is_in_the_cache_if_it_is_a_model_and_whole(models: Models) -> None:
    for name, files in (("me/mine", demo_files()), ("me/other", {"model.bin": b"x"})):
        with fake_hub(name, files) as hub:
            models("pull", name, hub=hub)
    listed = json.loads(models("list", "--json").stdout)
    mine = listed[-1]
    assert [model["model"] for model in listed if model["model"].startswith("me/")] == ["me/mine"]
    assert (mine["folder"] is not None, mine["languages"]) == (True, "English")
    assert mine["size_bytes"] == sum(len(content) for content in demo_files().values()) - len(b"# not needed\n")


def test_list_has_the_folder_that_the_settings_name(models: Models, tmp_path: Path) -> None:
    os.symlink(DEMO_DIR, tmp_path / "own")
    (tmp_path / "config.toml").write_text('[engine]\nmodel = "./own"\n')
    mine = json.loads(models("list", "--json").stdout)[-1]
    assert (mine["model"], mine["in_settings"]) == (str(tmp_path / "own"), True)
