"""Two real Syncthing daemons on loopback: a phone, and a server whose copy of the phone's folder is the inbox."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.processes import sidecar, until
from tests.tool import Tool, grows, needs, tool
from tests.watched import Watched, watching, wav

pytestmark = needs("syncthing")
FOLDER = "recordings"
SLOW_KIB_S = 1000
OFF = {
    "setLowPriority": "false",  # it would move into a process group of its own, and out of the hand of the test
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "urAccepted": "-1",
    "crashReportingEnabled": "false",
    "autoUpgradeIntervalH": "0",
    "startBrowser": "false",
    "reconnectionIntervalS": "1",
}


@dataclass
class Daemon:
    """One Syncthing with a home of its own, and a folder that it shares with the other one."""

    home: Path
    folder: Path
    gui: int
    listen: int
    device: str = ""
    process: Tool | None = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Use its REST interface."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gui}/rest/{path}",
            method=method,
            headers={"X-API-Key": "key", "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content.strip() else None

    def answers(self) -> bool:
        """Whether it is up."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            return bool(self.ask("GET", "system/ping"))
        return False

    def scans(self) -> None:
        """Let it look at its folder now."""
        self.ask("POST", f"db/scan?folder={FOLDER}")

    def is_connected(self) -> bool:
        """Whether the other one is there."""
        links = self.ask("GET", "system/connections")["connections"]
        return any(link["connected"] for link in links.values())

    def become(self, kind: str) -> None:
        """Change what its folder does: sendreceive, receiveonly ..."""
        self.ask("PATCH", f"config/folders/{FOLDER}", {"type": kind})

    def pauses(self, paused: bool) -> None:
        """Stop syncing the folder, or go on with it: then it looks first at what has changed on its own side."""
        self.ask("PATCH", f"config/folders/{FOLDER}", {"paused": paused})


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _make(home: Path, folder: Path) -> Daemon:
    subprocess.run(
        ["syncthing", "generate", "--no-default-folder", "--skip-port-probing", f"--home={home}"],
        check=True,
        capture_output=True,
        env={**os.environ, "HOME": str(home)},
    )
    daemon = Daemon(home, folder, _free_port(), _free_port())
    (device,) = ElementTree.parse(home / "config.xml").getroot().findall("device")
    daemon.device = device.attrib["id"]
    return daemon


def _configure(daemon: Daemon, other: Daemon, **options: str) -> None:
    """Tell it of the other one and of the folder; everything that would talk to anybody else is off."""
    path = daemon.home / "config.xml"
    tree = ElementTree.parse(path)
    root = tree.getroot()
    for gui in root.findall("gui"):
        for key, value in {"address": f"127.0.0.1:{daemon.gui}", "apikey": "key"}.items():
            _set(gui, key, value)
    for section in root.findall("options"):
        for key, value in {**OFF, "listenAddress": f"tcp://127.0.0.1:{daemon.listen}", **options}.items():
            _set(section, key, value)
    device = ElementTree.SubElement(root, "device", id=other.device, name="other")
    _set(device, "address", f"tcp://127.0.0.1:{other.listen}")
    folder = ElementTree.SubElement(
        root,
        "folder",
        id=FOLDER,
        path=str(daemon.folder),
        type="sendreceive",
        rescanIntervalS="3600",
        fsWatcherEnabled="true",
        fsWatcherDelayS="1",
    )
    _set(folder, "maxConflicts", "10")
    for member in (daemon, other):
        ElementTree.SubElement(folder, "device", id=member.device)
    tree.write(path)


def _set(parent: ElementTree.Element, key: str, value: str) -> None:
    for child in parent.findall(key):
        parent.remove(child)
    ElementTree.SubElement(parent, key).text = value


@contextlib.contextmanager
def _running(daemon: Daemon) -> Iterator[None]:
    (daemon.folder / ".stfolder").mkdir(parents=True, exist_ok=True)
    arguments = ["syncthing", "serve", "--no-browser", "--no-restart", f"--home={daemon.home}"]
    with tool(*arguments, cwd=daemon.home, STNOUPGRADE="1", STNODEFAULTFOLDER="1") as process:
        daemon.process = process
        until(daemon.answers, "the daemon")
        yield


@dataclass
class Pair:
    """The phone, the server, and the service that watches the server's copy."""

    phone: Daemon
    server: Daemon
    watched: Watched

    def record(self, name: str, content: bytes) -> None:
        """Put a finished recording into the phone's folder."""
        (self.phone.folder / name).write_bytes(content)
        self.phone.scans()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("syncthing")
    with watching(folder) as watched:
        phone = _make(folder / "phone-home", folder / "phone")
        server = _make(folder / "server-home", watched.inbox)
        _configure(phone, server, maxSendKbps=str(SLOW_KIB_S), limitBandwidthInLan="true")
        _configure(server, phone)
        with _running(server), _running(phone):
            until(lambda: phone.is_connected() and server.is_connected(), "the connection of the daemons")
            yield Pair(phone, server, watched)


def test_recording_that_syncthing_brings_is_taken_when_it_is_whole_and_never_under_its_temporary_name(
    pair: Pair,
) -> None:
    content = wav(1, 60.0)
    pair.record("phone.wav", content)
    found = grows(pair.watched.inbox, ".syncthing.phone.wav.tmp")
    assert pair.phone.process is not None
    with pair.phone.process.stopped():
        pair.watched.passes_over(found)
    pair.watched.completes({"phone.wav": content})


def test_recording_that_is_taken_out_of_a_send_and_receive_folder_goes_from_the_phone_too(pair: Pair) -> None:
    pair.record("given-away.wav", wav(2))
    pair.watched.completes({"given-away.wav": wav(2)})
    pair.server.scans()
    until(lambda: not (pair.phone.folder / "given-away.wav").exists(), "its end on the phone")


def test_recording_that_is_taken_out_of_a_receive_only_folder_stays_on_the_phone_and_does_not_come_again(
    pair: Pair,
) -> None:
    pair.server.become("receiveonly")
    pair.record("kept.wav", wav(3))
    pair.watched.completes({"kept.wav": wav(3)})
    pair.server.scans()
    pair.record("next.wav", wav(4))
    pair.watched.completes({"next.wav": wav(4)})
    assert (pair.phone.folder / "kept.wav").read_bytes() == wav(3)
    pair.server.become("sendreceive")


def test_both_sides_of_a_conflict_are_recordings_of_their_own(pair: Pair) -> None:
    here, there = wav(5), wav(6)
    with pair.watched.held():
        pair.server.pauses(True)
        (pair.watched.inbox / "note.wav").write_bytes(here)
        pair.record("note.wav", there)
        pair.server.pauses(False)
        conflict = until(lambda: list(pair.watched.inbox.glob("note.sync-conflict-*.wav")), "the conflict", limit_s=55)[
            0
        ].name
        until((pair.watched.inbox / "note.wav").exists, "the other side of the conflict")
        contents = {name: (pair.watched.inbox / name).read_bytes() for name in ("note.wav", conflict)}
    assert sorted(contents.values()) == sorted([here, there])
    pair.watched.completes(contents)
    assert sidecar(pair.watched.spool, Path(conflict).stem)["status"] == "completed"
