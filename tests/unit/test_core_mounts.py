"""What kind of filesystem a path lies on, told from the kernel's list of mounts."""

from __future__ import annotations

import pytest

from cesar_watch.core.mounts import Mounts

LINES = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 0:40 / /srv/spool/inbox/nas rw - nfs4 nas:/talks rw,vers=4.2
32 22 0:41 / /srv/spool/inbox/nas/local rw - xfs /dev/vdb rw
33 22 0:42 / /mnt/two\040words rw shared:2 master:1 - cifs //nas/talks rw
34 22 0:43 / /mnt/over rw - nfs nas:/old rw
35 34 0:44 / /mnt/over rw - tmpfs tmpfs rw
"""
MOUNTS = Mounts.parse(LINES.strip())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv/spool/inbox", "ext4"),
        ("/srv/spool/inbox/nas", "nfs4"),
        ("/srv/spool/inbox/nas/deep/er", "nfs4"),
        ("/srv/spool/inbox/nas/local/x", "xfs"),
        ("/srv/spool/inbox/nas2", "ext4"),
        ("/mnt/two words/x", "cifs"),
        ("/mnt/over/x", "tmpfs"),
    ],
)
def test_path_lies_on_the_nearest_mount_above_it(path: str, kind: str) -> None:
    assert MOUNTS.type_of(path) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse", "fuseblk", "fuse.sshfs"])
def test_network_and_user_space_filesystems_are_remote(kind: str) -> None:
    assert Mounts({"/": "ext4", "/m": kind}).is_remote("/m/x")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fusectl", "exfat", "vfat"])
def test_local_filesystems_are_not_remote(kind: str) -> None:
    assert not Mounts({"/": "nfs", "/m": kind}).is_remote("/m/x")


def test_path_counts_as_local_where_the_kernel_tells_nothing() -> None:
    assert Mounts({}).type_of("/srv") == ""
    assert not Mounts({}).is_remote("/srv")
