"""What the intake makes of one path in the inbox, and by which rule: the answer to "why was this not taken?"."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cesar_watch.core.companions import FOLDER_SETTINGS, SETTINGS_ENDING, beside, settings_path
from cesar_watch.core.config import SpoolSettings
from cesar_watch.core.errors import AttemptError, BadOverride, CesarError
from cesar_watch.core.job import FileIdentity
from cesar_watch.intake.overrides import check_file, folder_files
from cesar_watch.intake.probe import Complete, Short
from cesar_watch.intake.probe import Verdict as Proof
from cesar_watch.intake.ready import Promise, promise_of
from cesar_watch.intake.rules import Rejection, reject_folder, reject_kind, reject_name, suspect
from cesar_watch.intake.settle import NO_MARKER, Windows
from cesar_watch.intake.whole import examine

Kind = Literal["waiting", "ignored", "settings", "marker", "folder"]


@dataclass(frozen=True)
class Verdict:
    """What happens to a path: it waits to be taken, is left alone, holds settings, is a marker or a folder; and why."""

    kind: Kind
    reason: str
    message: str


def judge_path(inbox: Path, path: Path, settings: SpoolSettings, *, is_remote: bool) -> Verdict:
    """Return what the intake makes of something that lies in the inbox; no link is followed.

    Args:
        is_remote: Its folder lies on a network or user-space filesystem.

    Raises:
        OSError: It is gone, or can't be looked at.
    """
    mode = os.lstat(path).st_mode
    inside = path.relative_to(inbox).parts
    blocked = _above(inbox, inside[:-1], settings)
    if blocked:
        return Verdict("ignored", blocked.reason, blocked.message)
    if stat.S_ISDIR(mode):
        return _folder(path.name, settings, is_inbox=not inside)
    rejection = reject_name(path.name, settings)
    if rejection and rejection.reason == "settings_file":
        return _settings(inbox, path, rejection)
    if rejection and rejection.reason == "ready_marker":
        return _announcing(path, mode, rejection, settings.ready_marker)
    rejection = rejection or reject_kind(mode)
    if rejection:
        return Verdict("ignored", rejection.reason, rejection.message)
    return _waiting(inbox, path, settings, is_remote=is_remote)


def _above(inbox: Path, folders: tuple[str, ...], settings: SpoolSettings) -> Rejection | None:
    """Return the rule by which the intake does not come to what lies in these folders."""
    where = inbox
    for name in folders:
        where = where / name
        if where.is_symlink():
            return Rejection("not_a_file", f"its folder {name} is a symbolic link, which is never followed")
        rejection = reject_folder(name, settings)
        if rejection:
            return Rejection(rejection.reason, f"for its folder {name}, {rejection.message}")
    if folders and not settings.recursive:
        return Rejection("in_subfolder", "it lies in a subfolder; spool.recursive = true looks into those")
    return None


def _folder(name: str, settings: SpoolSettings, *, is_inbox: bool) -> Verdict:
    if is_inbox:
        return Verdict("folder", "inbox", "it is the inbox: recordings are dropped here")
    rejection = reject_folder(name, settings)
    if rejection:
        return Verdict("ignored", rejection.reason, rejection.message)
    if not settings.recursive:
        return Verdict("ignored", "in_subfolder", "it is a subfolder; spool.recursive = true looks into those")
    return Verdict("folder", "subfolder", "it is a folder that is looked into; recordings in it are taken one by one")


def _settings(inbox: Path, path: Path, rejection: Rejection) -> Verdict:
    try:
        check_file(path, path.name)
    except CesarError as fault:
        return Verdict("settings", fault.reason, f"{rejection.message}; but {fault}")
    if path.name.casefold() == FOLDER_SETTINGS:
        return Verdict("settings", "settings_file", f"{rejection.message} and those below; it is well")
    recording = path.with_name(path.name[: -len(SETTINGS_ENDING)])
    if os.path.lexists(recording):
        return Verdict("settings", "settings_file", f"{rejection.message}, which lies beside it; it is well")
    words = "no such recording lies beside it: it is for the next one of that name, or came too late"
    return Verdict("settings", "settings_file", f"{rejection.message}; {words}")


def _announcing(path: Path, mode: int, rejection: Rejection, ending: str) -> Verdict:
    unfit = reject_kind(mode)
    if unfit:
        return Verdict("ignored", unfit.reason, f"{unfit.message}, and so no marker")
    recording = path.with_name(path.name.removesuffix(ending))
    if os.path.lexists(recording):
        return Verdict("marker", rejection.reason, rejection.message)
    words = "no such recording lies beside it: it is for the next one of that name"
    return Verdict("marker", rejection.reason, f"{rejection.message}; {words}")


def _waiting(inbox: Path, path: Path, settings: SpoolSettings, *, is_remote: bool) -> Verdict:
    stat = os.lstat(path)
    promise, marker = promise_of(path, stat, settings.ready_marker), _marker(path, settings)
    if promise is Promise.MISSING:
        return Verdict("waiting", NO_MARKER, f"it is taken when its marker, the file {marker}, lies beside it")
    if stat.st_size == 0:
        return Verdict("waiting", "empty", "it is empty: its sender has yet to write it, or never will")
    try:
        proof = examine(path, FileIdentity.of(stat), is_remote=is_remote)
    except AttemptError as fault:
        return Verdict("waiting", fault.reason, str(fault))
    wrong = _wrong_settings(inbox, path)
    if wrong:
        return wrong
    why = suspect(path.name, settings)
    if why:
        return Verdict(
            "waiting", "suspect_name", f"it is taken when it has not changed for {settings.quiet_suspect_s:g} s: {why}"
        )
    return _settling(proof, promise, Windows.of(settings, is_remote=is_remote), marker)


def _wrong_settings(inbox: Path, path: Path) -> Verdict | None:
    subfolder = os.fsencode(path.parent.relative_to(inbox)) if path.parent != inbox else b""
    for file in [*folder_files(inbox, subfolder), settings_path(path)]:
        try:
            check_file(file, file.name)
        except BadOverride as fault:
            return Verdict("waiting", fault.reason, f"it will be given up as soon as it is taken: {fault}")
        except CesarError as fault:
            return Verdict("waiting", fault.reason, str(fault))
    return None


def _settling(proof: Proof, promise: Promise, windows: Windows, marker: str) -> Verdict:
    if isinstance(proof, Short):
        words = f"its header promises more than is there; unchanged for {windows.short_s:g} s, it is taken as cut short"
        return Verdict("waiting", "short", words)
    wait_s = windows.confirm_s if isinstance(proof, Complete) or promise is Promise.GIVEN else windows.quiet_s
    words = f"it is taken when it has not changed for {wait_s:g} s"
    if promise is Promise.GIVEN:
        words += f": {marker} says that it is whole"
    elif promise is Promise.EARLIER:
        words += f": it came, or changed, after {marker}, which proves nothing of what came later"
    return Verdict("waiting", "settling", words)


def _marker(recording: Path, settings: SpoolSettings) -> str:
    return os.fsencode(beside(recording, settings.ready_marker).name).decode("utf-8", "replace")
