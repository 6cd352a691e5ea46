"""The command line in real processes: one clear sentence, the exit code, nothing half-made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.processes import command


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    assert command("init", "spool", cwd=tmp_path).returncode == 0
    return tmp_path / "spool"


def _assert_one_sentence(stderr: str) -> None:
    assert "Traceback" not in stderr
    message = [line for line in stderr.splitlines() if line.startswith("cesar-watch: ")]
    assert len(message) == 1


def test_init_makes_rooms_marker_and_configuration(spool: Path) -> None:
    made = sorted(path.name for path in spool.iterdir())
    rooms = ["archive", "duplicates", "failed", "inbox", "outbox", "processing"]
    assert made == sorted([".cesar-watch", "config.toml", *rooms])


def test_init_twice_keeps_marker_and_configuration(spool: Path) -> None:
    with (spool / "config.toml").open("a") as config:
        config.write("# mine\n")
    before = {name: (spool / name).read_bytes() for name in (".cesar-watch", "config.toml")}
    again = command("init", "spool", cwd=spool.parent)
    assert again.returncode == 0
    assert {name: (spool / name).read_bytes() for name in before} == before


def test_init_where_nothing_can_be_made_exits_3(tmp_path: Path) -> None:
    made = command("init", "/proc/spool", cwd=tmp_path)
    assert made.returncode == 3
    _assert_one_sentence(made.stderr)


def test_run_without_any_configuration_exits_2_and_names_init(tmp_path: Path) -> None:
    run = command("run", cwd=tmp_path)
    assert run.returncode == 2
    assert "cesar-watch init" in run.stderr
    _assert_one_sentence(run.stderr)
    assert list(tmp_path.iterdir()) == []


def test_bad_settings_exit_2_and_are_told_together(spool: Path) -> None:
    (spool / "config.toml").write_text('[spool]\nquiet_s = -1\nquiet = 3\n[engine]\nbeam_size = "many"\n')
    run = command("run", cwd=spool.parent)
    assert run.returncode == 2
    for path in ("spool.quiet_s", "spool.quiet:", "engine.beam_size"):
        assert path in run.stderr
    assert not (spool / ".state").exists()


def test_spool_without_its_marker_exits_3_and_makes_nothing(spool: Path) -> None:
    (spool / ".cesar-watch").unlink()
    before = sorted(spool.rglob("*"))
    run = command("run", "--config", spool / "config.toml", cwd=spool.parent)
    assert run.returncode == 3
    _assert_one_sentence(run.stderr)
    assert sorted(spool.rglob("*")) == before


def test_missing_model_exits_3_with_what_to_do_and_leaves_the_inbox_alone(spool: Path) -> None:
    (spool / "inbox/talk.wav").write_bytes(b"sound")
    run = command("run", cwd=spool.parent, CESAR_WATCH_ENGINE__MODEL="./no-such-model")
    assert run.returncode == 3
    assert "no-such-model" in run.stderr
    _assert_one_sentence(run.stderr)
    assert (spool / "inbox/talk.wav").exists()


def test_state_directory_that_cannot_be_made_exits_3(spool: Path) -> None:
    run = command("run", cwd=spool.parent, CESAR_WATCH_SPOOL__STATE_DIR="/proc/state")
    assert run.returncode == 3
    _assert_one_sentence(run.stderr)


def test_unknown_job_and_unknown_command_exit_2(spool: Path) -> None:
    assert command("drain", cwd=spool.parent).returncode == 0
    for words in (["show", "abc"], ["cancel", "abc"], ["retry"], ["jobs", "--status", "lost"], ["nonsense"]):
        assert command(*words, cwd=spool.parent).returncode == 2, words


def test_status_before_the_first_run_exits_3_and_says_so(spool: Path) -> None:
    told = command("status", cwd=spool.parent)
    assert told.returncode == 3
    assert "Nothing has run" in told.stderr


def test_status_of_a_stopped_service_says_stopped(spool: Path) -> None:
    command("drain", cwd=spool.parent)
    told = json.loads(command("status", "--json", cwd=spool.parent).stdout)
    assert (told["running"], told["phase"]) == (False, "stopped")


def test_config_check_of_a_fresh_spool_is_content(spool: Path) -> None:
    checked = command("config", "check", cwd=spool.parent)
    assert checked.returncode == 0, checked.stderr


def test_config_check_of_a_model_that_is_not_fetched_yet_says_so(spool: Path) -> None:
    checked = command("config", "check", "--set", "engine.model=small", cwd=spool.parent, HF_HOME=str(spool.parent))
    assert checked.returncode == 0, checked.stderr
    assert "`cesar-watch run` fetches it" in checked.stdout
    never = command(
        *("config", "check", "--set", "engine.model=small", "--set", "engine.download=never"),
        cwd=spool.parent,
        HF_HOME=str(spool.parent),
    )
    assert never.returncode == 3
    _assert_one_sentence(never.stderr)


def test_config_check_of_a_model_that_has_too_little_memory_is_content_and_warns_once(spool: Path) -> None:
    with (spool / "config.toml").open("a") as config:
        config.write('\nmemory_limit_bytes = 100_000_000\n[[profile]]\nmatch = "a/*"\nformats = ["txt"]\n')
    checked = command("config", "check", cwd=spool.parent)
    assert checked.returncode == 0, checked.stderr
    assert "all well" in checked.stdout
    assert checked.stdout.count("The model demo needs about") == 1


def test_run_with_too_little_memory_for_its_model_warns_and_goes_on(spool: Path) -> None:
    limited = "engine.memory_limit_bytes=100_000_000"
    drained = command("drain", "--set", limited, cwd=spool.parent)
    assert drained.returncode == 0, drained.stderr
    assert drained.stderr.count("The model demo needs about") == 1


def test_config_show_prints_settings_in_force_as_toml_and_json(spool: Path) -> None:
    shown = command("config", "show", "--set", "engine.model=small", cwd=spool.parent)
    assert 'model = "small"' in shown.stdout
    machine = json.loads(command("config", "show", "--json", cwd=spool.parent).stdout)
    assert machine["spool"]["root"] == str(spool)


def test_config_schema_is_a_json_schema(tmp_path: Path) -> None:
    schema = json.loads(command("config", "schema", cwd=tmp_path).stdout)
    assert set(schema["properties"]) == {"spool", "engine", "output", "retry", "notify", "profile"}


def test_version_is_printed(tmp_path: Path) -> None:
    assert command("--version", cwd=tmp_path).stdout.startswith("cesar-watch ")


def test_notify_test_without_channels_exits_2_and_with_a_dead_one_exits_1(spool: Path) -> None:
    assert command("notify", "test", cwd=spool.parent).returncode == 2
    with (spool / "config.toml").open("a") as config:
        config.write('\n[[notify]]\nurl = "json://127.0.0.1:9/"\n')
    tried = command("notify", "test", cwd=spool.parent)
    assert tried.returncode == 1
    assert "127.0.0.1" in tried.stdout
