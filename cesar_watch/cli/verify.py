"""`verify`: check the promises on a spool, beside a running service too; mend what can be mended."""

from __future__ import annotations

import json
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cesar_watch.cli.common import ConfigOption, JsonOption, out, settings_for
from cesar_watch.cli.tables import plain
from cesar_watch.core.config import Settings
from cesar_watch.core.errors import AlreadyRunning, SpoolError, UsageError, folder_fault
from cesar_watch.core.humanize import count
from cesar_watch.core.instance import is_running
from cesar_watch.service.house import open_house
from cesar_watch.service.mending import mend
from cesar_watch.verify.examine import Examination, Report
from cesar_watch.verify.examine import Progress as Tell
from cesar_watch.verify.finding import SENTENCES, Finding
from cesar_watch.verify.ledger import CannotLook

SHORT_S = 1.0
"""What takes no longer than this shows no progress."""
WIDTH = 76
"""How long the lines of a sentence may be."""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(verify)


def verify(
    config: ConfigOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Hash only recordings whose size or time changed, and no transcripts.")
    ] = False,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="CODE", help="Leave out findings of this code.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended without deleting or replacing anything.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that nothing is lost, changed or left half: 0 if all is well, 1 if not."""
    unknown = sorted(set(ignore or ()) - SENTENCES.keys())
    if unknown:
        raise UsageError(f"There is no finding {unknown[0]!r}: use one of {', '.join(SENTENCES)}.")
    settings = settings_for(config)
    if repair and is_running(settings.state_dir):
        raise AlreadyRunning(
            f"A service runs on {settings.state_dir}: stop it, repair, and start it again. "
            "Without --repair, `cesar-watch verify` looks beside it."
        )
    report = _examine(settings, quick=quick)
    mended: list[Finding] = []
    if repair and report.findings:
        before = report.findings
        _repair(settings)
        report = _examine(settings, quick=quick)
        left = {_key(finding) for finding in report.findings}
        mended = [finding for finding in before if _key(finding) not in left]
    findings = [finding for finding in report.findings if finding.code not in (ignore or ())]
    if as_json:
        _print_json(report, findings, mended if repair else None)
    else:
        _print_lines(report, findings, mended)
    raise typer.Exit(1 if findings else 0)


def _examine(settings: Settings, *, quick: bool) -> Report:
    """Look through the spool, with a progress bar where a person waits.

    Raises:
        SpoolError: It can't be looked at.
    """
    root, state_dir = settings.spool.root, settings.state_dir
    with _progress() as tell:
        examination = Examination(root, state_dir, lambda: is_running(state_dir), quick, tell)
        try:
            return examination.run()
        except CannotLook as fault:
            raise SpoolError(str(fault)) from None


def _repair(settings: Settings) -> None:
    try:
        with open_house(settings) as house:
            mend(house)
    except OSError as fault:
        raise folder_fault(fault) from None


@contextmanager
def _progress() -> Iterator[Tell]:
    """Show a bar on a terminal once it takes long; a single large recording may, so time alone decides."""
    terminal = Console(stderr=True)
    columns = (TextColumn("Looking at jobs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=terminal, transient=True)
    task = bar.add_task("", total=None)
    starter = threading.Timer(SHORT_S, bar.start)
    if terminal.is_terminal:
        starter.start()
    try:
        yield lambda done, total: bar.update(task, completed=done, total=total)
    finally:
        starter.cancel()
        if terminal.is_terminal:
            starter.join()
            bar.stop()


def _key(finding: Finding) -> tuple[str, bytes, str | None]:
    return finding.code, finding.path, finding.job_id


def _print_json(report: Report, findings: list[Finding], mended: list[Finding] | None) -> None:
    fields = {
        "clean": not findings,
        "jobs": report.jobs,
        "files": report.files,
        "other_instances": report.others,
        "findings": [finding.as_mapping() for finding in findings],
    }
    if mended is not None:
        fields["mended"] = [finding.as_mapping() for finding in mended]
    typer.echo(json.dumps(fields, ensure_ascii=False, indent=2))


def _print_lines(report: Report, findings: list[Finding], mended: list[Finding]) -> None:
    looked_at = f"{count(report.jobs, 'job')}, {count(report.files, 'file')}"
    if mended:
        out.print(f"Mended: {count(len(mended), 'finding')}.")
    for finding in mended:
        out.print(Text("  ") + _headline(finding), soft_wrap=False)
    if report.others:
        theirs = ", ".join(report.others)
        out.print(f"Jobs of other instances were not looked at: {theirs}.", style="dim", soft_wrap=False)
    if not findings:
        out.print(f"All is well: {looked_at}.")
        return
    out.print(f"{count(len(findings), 'finding')} in {looked_at}.", style="bold")
    for finding in findings:
        out.print()
        out.print(_headline(finding), soft_wrap=False)
        for sentence in (finding.message, finding.remedy):
            indented = textwrap.indent("\n".join(textwrap.wrap(plain(sentence).plain, WIDTH)), "  ")
            out.print(Text(indented))


def _headline(finding: Finding) -> Text:
    job = f"  job {finding.job_id[:8]}" if finding.job_id else ""
    return Text.assemble((finding.code, "red"), "  ", plain(finding.shown_path), (job, "dim"))
