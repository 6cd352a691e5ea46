"""What may be shown of a channel's URL, and what may not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cesar_watch
from cesar_watch.delivery.send import describe_channel


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("json://127.0.0.1:8080/hook?x=y", "json://127.0.0.1"),
        ("jsons://[::1]:8443/hook", "jsons://[::1]"),
        ("json://nas:8080/hook", "json://nas"),
        ("mailto://me:hunter2@example.org", "mailto://example.org"),
        ("mailto://me:hun@ter.two@example.org", "mailto://…"),
        ("mailto://me:hunter2", "mailto://…"),
        ("ntfy://me:hunter2@ntfy.sh/topic", "ntfy://ntfy.sh"),
        ("ntfy://secret-topic", "ntfy://…"),
        ("tgram://123456789:ABCdef_ghi/chat", "tgram://…"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/", "slack://…"),
        ("123456789:ABCdef_ghi", "(not a URL)"),
        ("secret token://x", "(not a URL)"),
        ("", "(not a URL)"),
    ],
)
def test_describe_channel_shows_scheme_and_server_only(url: str, shown: str) -> None:
    assert describe_channel(url) == shown


def test_apprise_is_imported_by_the_child_alone() -> None:
    package = Path(cesar_watch.__file__).parent
    importers = {path.name for path in package.rglob("*.py") if "apprise" in imported_roots(path)}

    assert importers == {"send_main.py"}


def imported_roots(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}
