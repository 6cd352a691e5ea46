"""The settings themselves: documented, bounded, with units in their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from cesar_watch.core.config import NotifySettings, RetrySettings, Settings, SpoolSettings
from cesar_watch.core.recording_settings import EngineSettings, OutputSettings, Section

SECTIONS: list[type[Section]] = [SpoolSettings, EngineSettings, OutputSettings, RetrySettings, NotifySettings]


def fields() -> Iterator[tuple[str, FieldInfo]]:
    for section in SECTIONS:
        yield from ((f"{section.__name__}.{key}", info) for key, info in section.model_fields.items())


@pytest.mark.parametrize(("name", "info"), list(fields()), ids=[name for name, _ in fields()])
def test_setting_is_documented_in_a_sentence(name: str, info: FieldInfo) -> None:
    assert info.description, f"{name} has no description"
    assert info.description.endswith((".", "..."))


@pytest.mark.parametrize("name", [name for name, info in fields() if info.annotation is float])
def test_setting_that_is_a_duration_carries_its_unit(name: str) -> None:
    assert name.endswith("_s")


def test_settings_that_carry_seconds_are_the_only_floats() -> None:
    assert [name for name, info in fields() if name.endswith("_s") and info.annotation is not float] == []


def test_settings_without_any_source_are_valid() -> None:
    settings = Settings()

    assert (settings.engine.model, settings.retry.max_attempts, settings.notify) == ("demo", 3, [])


def test_state_dir_that_is_left_out_lies_in_the_root() -> None:
    assert Settings(spool=SpoolSettings(root=Path("/spool"))).state_dir == Path("/spool/.state")
    assert Settings(spool=SpoolSettings(state_dir=Path("/var/lib/x"))).state_dir == Path("/var/lib/x")


@pytest.mark.parametrize("value", ["", ".ok", ".done", ".mp3.ok", ". whole", ".OK"])
def test_ready_marker_is_an_ending_that_no_recording_has(value: str) -> None:
    assert SpoolSettings(ready_marker=value).ready_marker == value


def test_extensions_are_kept_bare_and_in_lower_case() -> None:
    assert SpoolSettings(extensions=[".WAV", "Mp3"]).extensions == ["wav", "mp3"]


def test_settings_refuse_changes() -> None:
    with pytest.raises(ValidationError):
        Settings().engine.model = "large"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (SpoolSettings, "rescan_s", 0),
        (SpoolSettings, "rescan_s", float("inf")),
        (SpoolSettings, "quiet_s", float("nan")),
        (SpoolSettings, "quiet_s", -1),
        (SpoolSettings, "watch_mode", "sometimes"),
        (EngineSettings, "window_s", 4),
        (EngineSettings, "beam_size", 0),
        (EngineSettings, "compute_type", "int9"),
        *((EngineSettings, "nice", value) for value in (-1, 20)),
        (EngineSettings, "memory_limit_bytes", -1),
        (EngineSettings, "timeout_s", float("inf")),
        (OutputSettings, "formats", []),
        (OutputSettings, "formats", ["docx"]),
        (RetrySettings, "max_attempts", 0),
        *((SpoolSettings, "ready_marker", value) for value in ("ok", ".", ".ok.", "./ok", ".a\nb", ".WAV", ".x.toml")),
    ],
)
def test_setting_outside_its_limits_is_refused(section: type[Section], key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        section.model_validate({key: value})


@pytest.mark.parametrize("text", ["{name", "{who}", "{0}", "{name.x}", "{}"])
def test_notice_text_with_an_unknown_placeholder_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="placeholder"):
        NotifySettings(url="json://localhost", title=text)


def test_job_options_hold_what_shapes_the_outputs_and_nothing_of_the_machine() -> None:
    options = Settings(engine=EngineSettings(language="cs", threads=7)).job_options()

    assert options["engine"]["language"] == "cs"
    assert (
        not {"threads", "device", "compute_type", "isolation", "nice", "io_idle", "timeout_s"}
        & options["engine"].keys()
    )
    assert json.loads(json.dumps(options)) == options


def test_job_options_hold_the_text_of_the_template_and_not_its_path(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("# {title}")
    output = OutputSettings.model_validate({"md_template": tmp_path / "note.md", "formats": ["md"]})

    assert Settings(output=output).job_options()["output"] == {
        "formats": ["md"],
        "highlight_words": False,
        "md_template": "# {title}",
    }


def test_inbox_elsewhere_is_only_for_copied_claims(tmp_path: Path) -> None:
    root, library = tmp_path / "spool", tmp_path / "library"
    with pytest.raises(ValidationError, match='claim = "copy"'):
        SpoolSettings(root=root, inbox=library)
    assert SpoolSettings(root=root, inbox=library, claim="copy").inbox == library


@pytest.mark.parametrize("inbox", [".", "spool", "spool/processing", "linked"])
def test_inbox_elsewhere_may_neither_lie_in_the_spool_nor_hold_it(tmp_path: Path, inbox: str) -> None:
    (tmp_path / "spool/archive").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "spool/archive")
    with pytest.raises(ValidationError, match="nor the spool in it"):
        SpoolSettings(root=tmp_path / "spool", inbox=tmp_path / inbox, claim="copy")
