"""What kind of filesystem a path lies on, as the kernel tells it (proc(5), mountinfo)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "afs", "ncpfs", "davfs"}
    | {"fuse", "fuseblk", "lustre"}
)


@dataclass(frozen=True)
class Mounts:
    """The mount points of this process at one moment, each with its type. Paths that are asked about are real ones."""

    points: dict[str, str]

    @classmethod
    def now(cls) -> Mounts:
        """Ask the kernel; where it doesn't tell, every path counts as local."""
        try:
            return cls.parse(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
        except OSError:
            return cls({})

    @classmethod
    def parse(cls, text: str) -> Mounts:
        """Read the lines of a mountinfo; of several mounts on one point the last is the one that is seen."""
        points = {}
        for line in text.splitlines():
            left, _, right = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split()[4])
            points[point] = right.split()[0]
        return cls(points)

    def type_of(self, path: str) -> str:
        """Return the type of the filesystem that holds `path`; "" when it can't be told."""
        while path not in self.points:
            parent = os.path.dirname(path)
            if parent == path:
                return ""
            path = parent
        return self.points[path]

    def is_remote(self, path: str) -> bool:
        """Whether `path` lies on a network or user-space filesystem, whose events and locks can't be trusted."""
        kind = self.type_of(path)
        return kind in NETWORK_FILESYSTEMS or kind.startswith("fuse.")


def filesystem_type(path: Path) -> str:
    """Return the type of the filesystem that holds `path` now, through links; "" when it can't be told."""
    return Mounts.now().type_of(os.path.realpath(path))


def is_remote(path: Path) -> bool:
    """Whether `path` lies on a network or user-space filesystem now; through links."""
    return Mounts.now().is_remote(os.path.realpath(path))
