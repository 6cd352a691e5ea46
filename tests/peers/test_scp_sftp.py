"""scp and sftp through a real sshd, which talks to its client over pipes: no port is opened, no daemon stays behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tool import grows, needs, tool
from tests.watched import Watched, watching, wav

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
pytestmark = [
    needs("scp", "sftp", "ssh-keygen", "unshare"),
    pytest.mark.skipif(SSHD is None, reason="not installed: sshd (openssh-server)"),
]
CONTENT_S = 20.0
SLOW = ["-l", "3000"]
"""In kbit/s: 1.7 s for a recording."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("ssh")) as watched:
        yield watched


@dataclass(frozen=True)
class Ssh:
    """What a client needs to log in to this machine."""

    config: Path
    folder: Path

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        """Return the client's command line."""
        return [program, "-F", str(self.config), *map(str, arguments)]


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Ssh:
    folder = tmp_path_factory.mktemp("keys")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPidFile none\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        "Subsystem sftp internal-sftp\nUseDNS no\n"
    )
    run_sshd = f"{SSHD} -i -f {folder}/sshd_config"
    if os.geteuid() == 0:  # then it wants a folder in /run, and gets one that nobody else sees
        run_sshd = f"unshare --mount sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec {run_sshd}'"
    (folder / "ssh_config").write_text(
        f"Host here\nProxyCommand {run_sshd}\nIdentityFile {folder}/user\nIdentitiesOnly yes\nBatchMode yes\n"
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\nLogLevel ERROR\n"
    )
    tried = subprocess.run(
        ["ssh", "-F", folder / "ssh_config", "here", "true"], capture_output=True, text=True, timeout=30, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"sshd lets nobody in here: {tried.stderr.strip()}")
    return Ssh(folder / "ssh_config", folder)


@pytest.mark.parametrize(("seed", "protocol"), [(1, ["-s"]), (2, ["-O"])], ids=["over sftp", "its own protocol"])
def test_scp_that_stalls_half_way_makes_one_job_of_the_full_length(
    watched: Watched, tmp_path: Path, ssh: Ssh, seed: int, protocol: list[str]
) -> None:
    source = tmp_path / f"scp{seed}.wav"
    source.write_bytes(wav(seed, CONTENT_S))
    arguments = ssh.command("scp", *SLOW, *protocol, "-p", source, f"here:{watched.inbox}/")
    with tool(*arguments, cwd=tmp_path) as scp:
        found = grows(watched.inbox, source.name, 100_000)
        with scp.stopped():
            watched.waits("being_written")
            watched.passes_over(found)
        scp.ends()
    watched.completes({source.name: wav(seed, CONTENT_S)})


def test_upload_by_sftp_that_broke_off_waits_until_it_is_continued(watched: Watched, tmp_path: Path, ssh: Ssh) -> None:
    content = wav(3, CONTENT_S)
    (tmp_path / "sftp.wav").write_bytes(content)
    target = watched.inbox / "sftp.wav"
    with tool(*ssh.command("sftp", *SLOW, "-b", "-", "here"), cwd=tmp_path) as sftp:
        sftp.feed(f"put sftp.wav {target}\n".encode())
        grows(watched.inbox, "sftp.wav", 100_000)
        sftp.breaks_off()
    watched.waits("short")
    assert target.stat().st_size < len(content)
    with tool(*ssh.command("sftp", "-b", "-", "here"), cwd=tmp_path) as sftp:
        sftp.feed(f"reput sftp.wav {target}\n".encode())
        sftp.ends()
    watched.completes({"sftp.wav": content})


def test_upload_by_sftp_under_a_temporary_name_is_taken_when_it_is_renamed(
    watched: Watched, tmp_path: Path, ssh: Ssh
) -> None:
    """As WinSCP does with large files."""
    (tmp_path / "large.wav").write_bytes(wav(4))
    part = watched.inbox / "large.wav.filepart"
    with tool(*ssh.command("sftp", "-b", "-", "here"), cwd=tmp_path) as sftp:
        sftp.feed(f"put large.wav {part}\n".encode())
        grows(watched.inbox, part.name, len(wav(4)) - 1)
        watched.passes_over(part)
        sftp.feed(f"rename {part} {watched.inbox}/large.wav\n".encode())
        sftp.ends()
    watched.completes({"large.wav": wav(4)})
