"""Finding, merging, checking and writing configuration."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from cesar_watch.core.config import NotifySettings, Settings, SpoolSettings
from cesar_watch.core.config_file import (
    example_toml,
    find_config,
    load_settings,
    merge_overrides,
    origins,
    parse_override,
    render_toml,
)
from cesar_watch.core.errors import ConfigError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.template import Template

COMMITTED_EXAMPLE = Path(__file__).parents[2] / "config.toml.example"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("CESAR_WATCH_")]:
        monkeypatch.delenv(name)


def config(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- finding --------------------------------------------------------------------------------


PLACES = [
    "/named.toml",
    "/by-environment.toml",
    "/home/ada/config.toml",
    "/home/ada/spool/config.toml",
    "/home/ada/.config/cesar-watch/config.toml",
    "/etc/cesar-watch/config.toml",
]
"""Every place in which a configuration can lie, best first."""


@pytest.mark.parametrize("rank", range(len(PLACES) + 1))
def test_find_config_takes_the_best_place_that_there_is(fs: FakeFilesystem, rank: int) -> None:
    fs.create_file("/home/ada/spool/.cesar-watch")
    for place in PLACES[rank:]:
        fs.create_file(place)
    given = Path(PLACES[0]) if rank == 0 else None
    environ = {"HOME": "/home/ada"} | ({"CESAR_WATCH_CONFIG": PLACES[1]} if rank <= 1 else {})
    found = find_config(given, environ=environ, cwd=Path("/home/ada"))

    assert (str(found) if found else None) == next(iter(PLACES[rank:]), None)


def test_find_config_with_two_spools_in_the_folder_takes_neither(fs: FakeFilesystem) -> None:
    for name in ("a", "b"):
        fs.create_file(f"/home/ada/{name}/.cesar-watch")
        fs.create_file(f"/home/ada/{name}/config.toml")

    assert find_config(None, environ={"HOME": "/nobody"}, cwd=Path("/home/ada")) is None


def test_find_config_obeys_the_users_configuration_folder(fs: FakeFilesystem) -> None:
    fs.create_file("/xdg/cesar-watch/config.toml")
    environ = {"HOME": "/home/ada", "XDG_CONFIG_HOME": "/xdg"}

    assert find_config(None, environ=environ, cwd=Path("/")) == Path("/xdg/cesar-watch/config.toml")


def test_find_config_of_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file at"):
        find_config(tmp_path / "absent.toml", environ={}, cwd=tmp_path)
    with pytest.raises(ConfigError, match="no configuration file at"):
        find_config(None, environ={"CESAR_WATCH_CONFIG": str(tmp_path / "absent.toml")}, cwd=tmp_path)


# --- merging --------------------------------------------------------------------------------


def test_load_without_a_file_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None)

    assert settings.spool.root == tmp_path
    assert settings.model_copy(update={"spool": Settings().spool}) == Settings()


def test_load_lets_each_source_win_over_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, '[engine]\nmodel = "file"\nbeam_size = 2\ncompute_type = "int8"\n')
    monkeypatch.setenv("CESAR_WATCH_ENGINE__MODEL", "environment")
    monkeypatch.setenv("CESAR_WATCH_ENGINE__BEAM_SIZE", "3")
    engine = load_settings(path, {"engine": {"model": "command line"}}).engine

    assert (engine.model, engine.beam_size, engine.compute_type) == ("command line", 3, "int8")
    assert engine.window_s == Settings().engine.window_s


def test_load_takes_lists_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CESAR_WATCH_OUTPUT__FORMATS", '["srt"]')

    assert load_settings(None).output.formats == ["srt"]


def test_load_of_a_list_in_the_environment_that_is_not_json_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CESAR_WATCH_OUTPUT", "srt, txt")

    with pytest.raises(ConfigError, match=r"(?i)output"):
        load_settings(None)


def test_load_reads_every_channel(tmp_path: Path) -> None:
    text = '[[notify]]\nurl = "json://a"\n[[notify]]\nurl = "json://b"\nevents = ["failed"]\n'

    assert [channel.url for channel in load_settings(config(tmp_path, text)).notify] == ["json://a", "json://b"]


def test_load_reads_every_profile_and_renders_only_what_it_says(tmp_path: Path) -> None:
    text = '[[profile]]\nmatch = "a/*"\nlanguage = "de"\n[[profile]]\nmatch = "*.wav"\nformats = ["txt"]\n'
    settings = load_settings(config(tmp_path, text))

    assert [(profile.match, profile.chosen()) for profile in settings.profile] == [
        ("a/*", {"language": "de"}),
        ("*.wav", {"formats": ["txt"]}),
    ]
    assert load_settings(config(tmp_path, render_toml(settings))).profile == settings.profile


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('match = "*"\nbeam = 3', "profile.0.beam: is not a known setting"),
        ('language = "de"', "profile.0.match: field required"),
        ('match = "*"\nisolation = "thread"', "profile.0.isolation: is the whole service's"),
        ('match = "*"\nmd_template = "/etc/passwd"', "profile.0.md_template: names a file of the service's"),
        ('match = "*"\nbeam_size = 99', "profile.0.beam_size"),
    ],
)
def test_load_of_a_wrong_profile_is_refused_with_its_path(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_settings(config(tmp_path, f"[[profile]]\n{text}\n"))


def test_load_anchors_the_model_of_a_profile_at_the_file(tmp_path: Path) -> None:
    text = '[[profile]]\nmatch = "*"\nmodel = "./models/small"\n'

    assert load_settings(config(tmp_path, text)).profile[0].model == str(tmp_path / "models" / "small")


def test_origins_tell_file_environment_and_default_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CESAR_WATCH_ENGINE__LANGUAGE", "cs")
    path = config(tmp_path, "[engine]\nbeam_size = 3\n")
    found = origins(load_settings(path), path)

    assert (found["beam_size"], found["language"], found["model"]) == ("config.toml", "environment", "default")


# --- paths ----------------------------------------------------------------------------------


def test_load_anchors_relative_paths_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[spool]\nroot = "../spool"\nstate_dir = "state"\n[engine]\nmodel = "./models/small"\n'
    path = config(tmp_path / "etc", text)
    monkeypatch.chdir("/")
    settings = load_settings(path)

    assert settings.spool.root == tmp_path / "spool"
    assert settings.state_dir == tmp_path / "etc" / "state"
    assert settings.engine.model == str(tmp_path / "etc" / "models" / "small")


def test_load_of_a_file_without_a_root_takes_its_folder(tmp_path: Path) -> None:
    assert load_settings(config(tmp_path, "")).spool.root == tmp_path


def test_load_reads_the_template_beside_the_file_and_shows_its_path(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("# {title}")
    settings = load_settings(config(tmp_path, '[output]\nmd_template = "note.md"\n'))

    assert settings.output.md_template == Template(tmp_path / "note.md", "# {title}")
    assert load_settings(config(tmp_path, render_toml(settings))).output == settings.output


def test_load_expands_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")

    assert load_settings(config(tmp_path, '[spool]\nroot = "~/spool"\n')).spool.root == Path("/home/ada/spool")


def test_load_leaves_the_name_of_a_model_alone(tmp_path: Path) -> None:
    assert load_settings(config(tmp_path, '[engine]\nmodel = "org/model"\n')).engine.model == "org/model"


# --- faults ---------------------------------------------------------------------------------


def test_load_tells_all_faults_together_with_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, '[spool]\nrescan_s = 0\ntypo = 1\n[engin]\nx = 1\n[[notify]]\nurl = "a"\ntitle = "{who}"\n')
    monkeypatch.setenv("CESAR_WATCH_RETRY__MAX_ATTEMPTS", "none")

    with pytest.raises(ConfigError) as caught:
        load_settings(path, {"engine": {"beam_size": 99}})
    text = str(caught.value)
    assert str(path) in text
    for where in ("spool.rescan_s:", "retry.max_attempts:", "notify.0.title:", "engine.beam_size:"):
        assert where in text
    assert "spool.typo: is not a known setting" in text
    assert "engin: is not a known setting" in text


@pytest.mark.parametrize(("content", "told"), [(None, "can't be read"), ("{titel}", "{titel}")])
def test_load_of_a_wrong_template_tells_the_setting_the_file_and_why(
    tmp_path: Path, content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "note.md").write_text(content)

    with pytest.raises(ConfigError, match=rf"\n  output\.md_template: {tmp_path}/note\.md .*{told}"):
        load_settings(config(tmp_path, '[output]\nmd_template = "note.md"\n'))


@pytest.mark.parametrize("name", ["CESAR_WATCH_ENGINE__MODLE", "CESAR_WATCH_ENGIN__MODEL"])
def test_load_refuses_an_unknown_key_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "small")

    with pytest.raises(ConfigError, match="not a known setting"):
        load_settings(None)


def test_load_is_not_disturbed_by_the_variable_that_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CESAR_WATCH_CONFIG", "/somewhere/config.toml")

    assert load_settings(None).engine == EngineSettings()


@pytest.mark.parametrize("content", [b"[spool", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_load_of_a_file_that_is_not_toml_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(content)

    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(tmp_path / "config.toml")


def test_load_of_a_folder_says_that_it_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load_settings(tmp_path)


@pytest.mark.parametrize("text", ["spool = 3", "engine = []", 'notify = "json://a"'])
def test_load_of_a_table_that_is_none_is_told_with_its_path(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=f"  {text.partition(' ')[0]}: "):
        load_settings(config(tmp_path, text))


# --- overrides ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("engine.model=small", {"engine": {"model": "small"}}),
        ("engine.model = small", {"engine": {"model": " small"}}),
        ("engine.beam_size=3", {"engine": {"beam_size": 3}}),
        ("spool.recursive=true", {"spool": {"recursive": True}}),
        ('output.formats=["txt"]', {"output": {"formats": ["txt"]}}),
        ('engine.initial_prompt="a = b"', {"engine": {"initial_prompt": "a = b"}}),
        ("engine.hotwords=a=b", {"engine": {"hotwords": "a=b"}}),
        ("engine.model=", {"engine": {"model": ""}}),
    ],
)
def test_override_is_toml_or_else_a_string(text: str, parsed: object) -> None:
    assert parse_override(text) == parsed


def test_override_without_an_equals_sign_is_refused_with_an_example() -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_override("engine.model")


def test_overrides_that_repeat_a_key_let_the_last_one_win_and_keep_the_others() -> None:
    merged = merge_overrides(["engine.model=a", "engine.beam_size=2", "engine.model=b", "spool.quiet_s=1"])

    assert merged == {"engine": {"model": "b", "beam_size": 2}, "spool": {"quiet_s": 1}}


# --- writing --------------------------------------------------------------------------------


def test_example_is_the_committed_one() -> None:
    assert COMMITTED_EXAMPLE.read_text(encoding="utf-8") == example_toml()


def test_example_is_valid_and_holds_the_defaults(tmp_path: Path) -> None:
    loaded = load_settings(config(tmp_path, example_toml()))

    assert loaded == Settings(spool=SpoolSettings(root=tmp_path))


def test_example_with_every_comment_of_a_key_taken_off_is_valid(tmp_path: Path) -> None:
    lines = []
    for line in example_toml().splitlines():
        bare = line.removeprefix("# ")
        is_key = bare.split(" = ")[0].isidentifier() and " = " in bare
        lines.append(bare if is_key or bare in ("[[notify]]", "[[profile]]") else line)
    loaded = load_settings(config(tmp_path, "\n".join(lines)))

    assert loaded.notify == [NotifySettings(url="ntfy://localhost/recordings")]
    assert [profile.chosen() for profile in loaded.profile] == [{"language": "de", "formats": ["txt"]}]


def test_example_shows_every_key() -> None:
    text = example_toml()
    sections = (Settings().spool, Settings().engine, Settings().output, Settings().retry)
    keys = {key for section in sections for key in type(section).model_fields} | NotifySettings.model_fields.keys()

    assert [key for key in keys if f"\n{key} = " not in text and f"\n# {key} = " not in text] == []


@pytest.mark.parametrize(
    "value",
    ['quote " and \\', "line\nbreak\ttab", "emoji 🎙 and čeština", "# no comment", "  spaces  kept  ", "x" * 200],
)
def test_rendered_settings_read_back_the_same(tmp_path: Path, value: str) -> None:
    settings = Settings(
        spool=SpoolSettings(root=tmp_path, ignore=[f"{value} {number}" for number in range(12)]),
        engine=EngineSettings(initial_prompt=value, window_s=1e3),
        notify=[NotifySettings(url="json://a", title=value), NotifySettings(url="json://b")],
    )

    assert load_settings(config(tmp_path / "x", render_toml(settings))) == settings


def test_rendered_lists_stay_within_the_width_of_a_page() -> None:
    assert max(len(line) for line in render_toml(Settings()).splitlines()) <= 120
    assert tomllib.loads(render_toml(Settings()))["spool"]["extensions"] == Settings().spool.extensions
