"""Messages go out through real apprise to a real server on loopback, or say why not."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import AttemptError, ConfigError, Kind
from cesar_watch.delivery.send import check_channel, send


class Server(ThreadingHTTPServer):
    """A JSON endpoint that remembers what it was sent, answers as told, and drips if told to."""

    daemon_threads = True
    status = 200
    drips = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoint)
        self.received: list[dict[str, Any]] = []
        self.ended = threading.Event()

    def channel(self, login: str = "") -> NotifySettings:
        return NotifySettings(url=f"json://{login}127.0.0.1:{self.server_port}/hook")


class Endpoint(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()
        if self.server.drips:
            self.drip()

    def drip(self) -> None:
        while not self.server.ended.wait(timeout=1.0):
            try:
                self.wfile.write(b".")
            except OSError:
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.ended.set()
        running.shutdown()
        thread.join(timeout=10)


def failure_of(channel: NotifySettings, deadline_s: float = 30.0) -> str:
    with pytest.raises(AttemptError) as caught:
        send(channel, "Title", "Body", None, deadline_s=deadline_s)
    assert caught.value.reason == "notice_failed"
    assert caught.value.kind is Kind.TRANSIENT
    return str(caught.value)


def test_send_to_a_json_endpoint_delivers_title_body_and_attachment(server: Server, tmp_path: Path) -> None:
    transcript = tmp_path / "kůň?a=1,b.txt"
    transcript.write_text("Hello.\n")

    send(server.channel(), "talk.mp3: completed", "Žluťoučký <b>kůň</b>\nsecond line", transcript)

    (message,) = server.received
    assert (message["title"], message["message"]) == ("talk.mp3: completed", "Žluťoučký <b>kůň</b>\nsecond line")
    (attachment,) = message["attachments"]
    assert base64.b64decode(attachment["base64"]) == b"Hello.\n"


def test_send_with_an_attachment_that_is_gone_delivers_the_message(server: Server, tmp_path: Path) -> None:
    send(server.channel(), "Title", "Body", tmp_path / "gone.txt")

    assert server.received[0]["attachments"] == []


def test_send_without_a_body_delivers_the_title(server: Server) -> None:
    send(server.channel(), "Title", "", None)

    assert len(server.received) == 1


def test_send_to_a_server_that_answers_500_says_which_and_what(server: Server) -> None:
    server.status = 500

    message = failure_of(server.channel(login="me:hunter2@"))

    assert "json://127.0.0.1" in message
    assert "500" in message
    assert "hunter2" not in message


def test_send_to_a_refusing_port_says_to_check_the_server() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        channel = NotifySettings(url=f"json://me:hunter2@127.0.0.1:{unused.getsockname()[1]}/hook")

        message = failure_of(channel)

    assert "onnection" in message
    assert "check that its server is up" in message
    assert "hunter2" not in message


def test_send_to_a_server_that_drips_a_byte_a_second_ends_at_the_deadline(server: Server) -> None:
    server.drips = True

    message = failure_of(server.channel(), deadline_s=4.0)

    assert "did not finish within 4 s" in message
    assert len(server.received) == 1, "the deadline passed before the server was reached: this proves nothing"


def test_send_to_an_invalid_url_says_so_without_showing_it() -> None:
    message = failure_of(NotifySettings(url="nosuch://me:hunter2@example.org/topic"))

    assert "nosuch://example.org is not a URL that apprise understands" in message
    assert "hunter2" not in message
    assert "topic" not in message


@pytest.mark.parametrize("url", ["json://127.0.0.1:1/hook", "mailto://me:hunter2@gmail.com", "ntfy://topic"])
def test_check_channel_with_a_valid_url_is_quiet(url: str) -> None:
    check_channel(url)


@pytest.mark.parametrize("url", ["nosuch://topic1", "topic1", "tgram://topic1", ""])
def test_check_channel_with_an_invalid_url_refuses_it_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL that apprise understands") as caught:
        check_channel(url)

    assert "topic1" not in str(caught.value)
