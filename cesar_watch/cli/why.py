"""`why`: which rule decides about a path, what it waits for, and with which options it is, or was, transcribed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cesar_watch.cli.common import ConfigOption, JsonOption, out, settings_and_path, tell_snapshot
from cesar_watch.cli.tables import ago, facts_table, plain, progress_words, utc_now
from cesar_watch.core.companions import SETTINGS_ENDING
from cesar_watch.core.config import Settings
from cesar_watch.core.config_file import origins
from cesar_watch.core.errors import CesarError, SpoolError, folder_fault
from cesar_watch.core.instance import is_running
from cesar_watch.core.job import Job
from cesar_watch.core.lookup import Lookup
from cesar_watch.core.mounts import is_remote
from cesar_watch.core.spool import INBOX, read_marker
from cesar_watch.delivery.reason_file import REASON_ENDING
from cesar_watch.intake.overrides import resolve
from cesar_watch.intake.scan import Candidate
from cesar_watch.intake.verdict import judge_path
from cesar_watch.service.house import House, visit_house
from cesar_watch.service.sources import Sources
from cesar_watch.service.state_file import read_state

PathArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="A file or folder; where none is there, a path in the inbox.")
]


@dataclass(frozen=True)
class Answer:
    """What is told of a path. `options` have, by key, the value and where it came from."""

    path: Path
    verdict: str
    reason: str
    message: str
    service: str = ""
    jobs: list[Job] = field(default_factory=list)
    options: dict[str, tuple[Any, str]] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(why)


def why(path: PathArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say what happens to a path and why: the rule, what it waits for, its options and their sources."""
    settings, config_path = settings_and_path(config)
    read_marker(settings.spool.root)
    try:
        answer = _answer(settings, config_path, _placed(path, settings.spool.root, _inbox(settings)))
    except OSError as fault:
        raise folder_fault(fault) from None
    if as_json:
        typer.echo(json.dumps(_as_mapping(answer), ensure_ascii=False, indent=2))
        return
    facts = _facts(answer)
    if answer.verdict == "waiting":
        facts.append(("Settings", str(config_path or "from the environment")))
    out.print(facts_table(facts), soft_wrap=False)
    if answer.options:
        out.print(Text(""))
        out.print(_options_table(answer.options), soft_wrap=False)


def _inbox(settings: Settings) -> Path:
    return settings.spool.inbox or settings.spool.root / INBOX


def _placed(given: str, root: Path, inbox: Path) -> Path:
    """Return the path below root or inbox as those are spelled in the settings; its last part is no link to follow."""
    path = _spelled(_spelled(Path(given).expanduser().absolute(), root), inbox)
    if os.path.isabs(given) or os.path.lexists(path) or path.is_relative_to(root):
        return path
    return Path(os.path.normpath(inbox / given))


def _spelled(path: Path, root: Path) -> Path:
    path = Path(os.path.normpath(path))
    real, real_root = Path(os.path.realpath(path.parent), path.name), Path(os.path.realpath(root))
    is_elsewhere = path.is_relative_to(root) or not real.is_relative_to(real_root)
    return path if is_elsewhere else root / real.relative_to(real_root)


def _answer(settings: Settings, config_path: Path | None, path: Path) -> Answer:
    root, inbox = settings.spool.root, _inbox(settings)
    if not path.is_relative_to(root) and not path.is_relative_to(inbox):
        return Answer(path, "outside", "outside", f"it lies outside of the spool {root}; only its inbox is looked into")
    jobs, was_taken = _jobs(settings, path)
    if path.is_relative_to(inbox) and os.path.lexists(path) and not was_taken:
        return _answer_in_inbox(settings, config_path, path, jobs)
    if jobs:
        reason = jobs[0].error.reason if jobs[0].error else jobs[0].state.shown
        message = f"it belongs to job {jobs[0].job_id[:8]}: {_standing(jobs[0])}"
        return Answer(path, "job", reason, message, jobs=jobs, options=_options_of(jobs[0]))
    if was_taken:
        return Answer(path, "ignored", "taken", "it was transcribed before, under another name, and has not changed")
    if os.path.lexists(path):
        return Answer(
            path, "ignored", "not_in_inbox", "only the inbox is looked into, and no job here has to do with it"
        )
    return Answer(path, "missing", "missing", "nothing lies there, and no job here has to do with it")


def _answer_in_inbox(settings: Settings, config_path: Path | None, path: Path, jobs: list[Job]) -> Answer:
    inbox = _inbox(settings)
    verdict = judge_path(inbox, path, settings.spool, is_remote=is_remote(path.parent))
    if verdict.kind != "waiting":
        return Answer(path, verdict.kind, verdict.reason, verdict.message, jobs=jobs)
    options = _options_to_come(settings, config_path, path)
    return Answer(path, "waiting", verdict.reason, verdict.message, _service(settings), jobs, options)


# --- jobs ---------------------------------------------------------------------------------------


def _jobs(settings: Settings, path: Path) -> tuple[list[Job], bool]:
    """Return the jobs that a path has to do with, newest first, and whether it is one's source and was only copied.

    There are none where nothing has run yet.
    """
    inbox = _inbox(settings)
    is_dropped = path.is_relative_to(inbox)
    inside = INBOX / path.relative_to(inbox) if is_dropped else path.relative_to(settings.spool.root)
    if len(inside.parts) < 2:
        return [], False
    try:
        with visit_house(settings) as house:
            tell_snapshot(house.ledger.is_snapshot)
            return _found(house.ledger.lookup, inside, settings.spool.ready_marker), is_dropped and _was_taken(
                house, path
            )
    except SpoolError as fault:
        if fault.reason != "never_ran":
            raise
        return [], False


def _was_taken(house: House, path: Path) -> bool:
    try:
        stat = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    folder, name = os.path.split(os.fsencode(path.relative_to(house.spool.inbox)))
    return Sources(house).knows(Candidate(path, name, folder, stat))


def _found(lookup: Lookup, inside: Path, ready_marker: str) -> list[Job]:
    room, *folders, name = inside.parts
    subfolder = os.fsencode(os.path.join("", *folders))
    if room == "inbox":
        return lookup.dropped_as(subfolder, os.fsencode(name))
    if room == "outbox":
        return lookup.with_output(subfolder, os.fsencode(name).decode("utf-8", "replace"))
    whole = os.fsencode(inside)
    endings = (SETTINGS_ENDING, REASON_ENDING, ready_marker)
    return lookup.lying_at([whole, *(whole.removesuffix(os.fsencode(ending)) for ending in endings)])


def _standing(job: Job) -> str:
    if job.error:
        return f"{job.state.shown}, {job.error.message}"
    words = progress_words(job, utc_now())
    return f"{job.state.shown}, {words}" if words else job.state.shown


def _options_of(job: Job) -> dict[str, tuple[Any, str]]:
    """Return a job's options as they were stored at the claim."""
    options = {**job.options.get("engine", {}), **job.options.get("output", {})}
    return {key: (value, job.chosen_by({key}) or "settings") for key, value in options.items()}


# --- what waits ---------------------------------------------------------------------------------


def _options_to_come(settings: Settings, config_path: Path | None, path: Path) -> dict[str, tuple[Any, str]]:
    """Return the options that a waiting recording would be claimed with now."""
    inbox = _inbox(settings)
    folder, name = os.path.split(os.fsencode(path.relative_to(inbox)))
    try:
        stored = resolve(settings, inbox, folder, name, path).options
    except CesarError:
        return {}
    source = origins(settings, config_path)
    for layer in stored.get("overrides", []):
        source |= dict.fromkeys(layer["set"], layer["from"])
    return {key: (value, source[key]) for key, value in {**stored["engine"], **stored["output"]}.items()}


def _service(settings: Settings) -> str:
    """Say whether there is a service that would take a recording."""
    account = read_state(settings.state_dir) if is_running(settings.state_dir) else None
    if account is None:
        return "is not running: start it with `cesar-watch run`"
    return f"{account.phase}{': ' + account.message if account.message else ''}"


# --- words --------------------------------------------------------------------------------------


def _facts(answer: Answer) -> list[tuple[str, str]]:
    words = {"waiting": "waits", "ignored": "is left alone", "job": "was claimed"}
    words |= {"settings": "holds settings", "marker": "announces a recording"}
    earlier = answer.jobs if answer.verdict != "job" else answer.jobs[1:]
    named = [f"{job.job_id[:8]} {job.state.shown} {ago(job.created_at, utc_now())}" for job in earlier[:5]]
    outputs = answer.jobs[0].outputs if answer.verdict == "job" else []
    return [
        ("Path", _text(str(answer.path))),
        ("Verdict", words.get(answer.verdict, answer.verdict)),
        ("Why", answer.message),
        ("Rule", answer.reason),
        ("Service", answer.service),
        ("Recording", answer.jobs[0].source.decode("utf-8", "replace") if answer.verdict == "job" else ""),
        ("Outputs", ", ".join(outputs)),
        ("Earlier jobs", ", ".join(named)),
    ]


def _options_table(options: dict[str, tuple[Any, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("OPTION", no_wrap=True, width=26)
    table.add_column("VALUE", overflow="fold", ratio=1)
    table.add_column("FROM", overflow="fold", ratio=1)
    for key, (value, origin) in options.items():
        table.add_row(key, plain(_value(value)), plain(_text(origin)))
    return table


def _value(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_mapping(answer: Answer) -> dict[str, Any]:
    return {
        "path": _text(str(answer.path)),
        "verdict": answer.verdict,
        "reason": answer.reason,
        "message": answer.message,
        "service": answer.service,
        "jobs": [{"job_id": job.job_id, "status": job.state.shown} for job in answer.jobs],
        "options": {key: {"value": value, "from": _text(origin)} for key, (value, origin) in answer.options.items()},
    }


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")
