"""Send one message to one channel, within a deadline that nothing outlasts.

apprise runs in a child process, because its timeouts don't cover a server that drips a byte a second
and because it is heavy to load. URLs carry passwords: the child gets its URL on stdin, never in its
arguments, and no message from here shows more of it than scheme and server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import AttemptError, ConfigError

# By path, so that it runs from a checkout too; -P keeps this room's modules out of the child's imports.
_CHILD = [sys.executable, "-P", str(Path(__file__).with_name("send_main.py"))]

DEADLINE_S = 20.0
"""A graceful stop of the service waits for the message that is being sent, and must end within 30 s."""

_INVALID_URL = 2
"""The child's exit status for a URL that apprise doesn't understand."""

# In many schemes a token or a secret topic stands in the host's place ("tgram://123:abc/"). Only what
# can be nothing but a server is shown, or what these schemes have there.
_SERVER = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}|localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]")
_SERVER_SCHEMES = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "gotify", "gotifys", "mqtt", "mqtts"})
_SECRET_CHARACTERS = 4
"""Shorter parts of a URL are too common in ordinary text to be taken for secrets."""


def send(
    channel: NotifySettings, title: str, body: str, attach: Path | None, *, deadline_s: float = DEADLINE_S
) -> None:
    """Send a message, or raise; returns or raises within the deadline. For the delivery thread: it blocks.

    An attachment that is gone is left out.

    Raises:
        AttemptError: It may not have been sent: the message says by which channel, what happened and
            what to check. No child process stays.
    """
    where = describe_channel(channel.url)
    message = {"title": title, "body": body, "attach": str(attach) if attach else None}
    try:
        status, said = _run_child({"url": channel.url, "message": message}, deadline_s)
    except subprocess.TimeoutExpired:
        raise _not_sent(
            f"The channel {where} did not finish within {deadline_s:g} s: see that its server answers, and quickly."
        ) from None
    except OSError as fault:
        raise _not_sent(f"The channel {where} was not tried, no process could be started: {fault.strerror}.") from None
    if status == _INVALID_URL:
        raise _not_sent(_invalid(where, said))
    if status != 0:
        raise _not_sent(
            f"The channel {where} did not take the message ({said}): "
            "check that its server is up, and its address and credentials in [[notify]]."
        )


def check_channel(url: str, *, deadline_s: float = DEADLINE_S) -> None:
    """See that apprise understands a channel's URL; nothing is sent.

    Raises:
        ConfigError: It doesn't, or that could not be found out.
    """
    where = describe_channel(url)
    try:
        status, said = _run_child({"url": url, "message": None}, deadline_s)
    except (subprocess.TimeoutExpired, OSError) as fault:
        raise ConfigError(f"The channel {where} could not be checked ({type(fault).__name__}): try again.") from None
    if status != 0:
        raise ConfigError(_invalid(where, said))


def describe_channel(url: str) -> str:
    """Return what may be shown of a channel's URL: scheme and server, or the scheme alone."""
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z0-9]+", scheme):
        return "(not a URL)"
    return f"{scheme}://{_server(scheme, rest) or '…'}"


def _server(scheme: str, rest: str) -> str | None:
    # A second @ may belong to a password, and then what follows the first one is no server.
    if rest.partition("?")[0].count("@") > 1:
        return None
    host = re.sub(r":\d*$", "", re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2])
    is_server = _SERVER.fullmatch(host) or (scheme in _SERVER_SCHEMES and re.fullmatch(r"[\w.-]+", host))
    return host if is_server else None


def _not_sent(message: str) -> AttemptError:
    return AttemptError(message, reason="notice_failed")


def _invalid(where: str, said: str) -> str:
    return f"The channel {where} is not a URL that apprise understands ({said}): correct its url in [[notify]]."


def _run_child(request: dict[str, Any], deadline_s: float) -> tuple[int, str]:
    """Run the child to its end or to its death; return its exit status and its last words, without secrets."""
    with subprocess.Popen(
        _CHILD, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        try:
            errors = child.communicate(json.dumps(request | {"deadline_s": deadline_s}).encode(), deadline_s)[1]
        except BaseException:
            # The whole session: some channels run programs of their own, which would hold the pipe open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    lines = errors.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it gave no reason")
    return child.returncode, _without_secrets(last.rstrip("."), request["url"])


def _without_secrets(line: str, url: str) -> str:
    """Take out of a line all parts of a URL but its scheme and its server, encoded or not."""
    scheme, separator, rest = url.partition("://")
    rest = rest if separator else url
    shown = {_server(scheme, rest), ""}
    # The names of parameters are no secrets, only their values.
    values = re.sub(r"([?&])[^=&]*=", r"\1", rest)
    parts = {part for part in re.split(r"[/?&=:@#]", values) if len(part) >= _SECRET_CHARACTERS} | {rest}
    password = rest.rpartition("@")[0].partition(":")[2]
    secrets = (parts | {unquote(part) for part in parts} | {password, unquote(password)}) - shown
    for secret in sorted(secrets, key=len, reverse=True):
        line = line.replace(secret, "***")
    return line
