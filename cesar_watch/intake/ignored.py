"""The built-in table of names that are no recordings: what sync tools, browsers, NAS systems and editors leave.

Globs over bare names, in any case; one that ends in `/` is for folders only, the others are for files and folders.
`spool.ignore` adds to it and takes away from it. The sources are the tools' own code and manuals.
"""

from __future__ import annotations

HIDDEN = "hidden: so are the unfinished files of Syncthing, rsync and most other tools"

IGNORED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (HIDDEN, (".*",)),
    ("a temporary file of Syncthing", ("~syncthing~*.tmp",)),
    ("a temporary file of Google Drive", ("*.tmp.drivedownload", "*.tmp.driveupload")),
    ("an unfinished download of yt-dlp", ("*.part-frag*", "*.ytdl")),
    ("an unfinished upload to Nextcloud or ownCloud", ("*.octransferid*.part",)),
    ("a temporary file of Nextcloud or ownCloud", ("*.~*", "*csync_timedif.ctmp*")),
    ("an unfinished copy (rclone, Internet Explorer, OneDrive)", ("*.partial",)),
    ("an unfinished download (Firefox, KDE, ownCloud, Transmission)", ("*.part",)),
    ("an unfinished download of Chrome or Edge", ("*.crdownload",)),
    ("an unfinished download of Safari", ("*.download",)),
    ("an unfinished download of Opera", ("*.opdownload",)),
    ("an unfinished download of aria2 or axel", ("*.aria2", "*.st")),
    ("an unfinished download of qBittorrent or uTorrent", ("*.!qb", "*.!ut")),
    ("an unfinished upload of WinSCP", ("*.filepart",)),
    ("a file of Resilio Sync", ("*.!sync", "*.syncpart", "*.synctemp", "*.syncold", "*.bts")),
    ("a temporary file of Seafile", ("*.sftmp",)),
    ("a temporary file of MEGA", ("*.mega",)),
    ("a temporary file of Unison", ("*.unison.tmp", "*.unison*")),
    ("a file of FreeFileSync", ("*.ffs_tmp", "sync.ffs_lock")),
    ("an unfinished upload", ("*.uploading", "*.inprogress", "*.incomplete")),
    ("a recording that Zoom has not converted yet", ("double_click_to_convert_*.zoom",)),
    ("a temporary file", ("*.tmp", "*.temp")),
    ("the lock of an open Office document", ("~$*",)),
    ("an editor's backup", ("*~",)),
    ("an editor's swap file", ("*.sw[a-p]", "*.kate-swp")),
    ("a file of Windows", ("thumbs.db", "desktop.ini", "*.lnk")),
    ("a folder of Windows", ("$recycle.bin/", "system volume information/")),
    ("a file of macOS", ("icon\r",)),
    ("a folder of macOS", ("__macosx/", "temporary items/", "network trash folder/")),
    ("a folder of a Synology NAS", ("@eadir/", "#recycle/", "@tmp/", "#snapshot/", "syno*@*/")),
    ("a folder of a QNAP NAS", ("@recycle/", "@recently-snapshot/")),
    ("a folder of the filesystem", ("lost+found/",)),
)
"""Whose names they are, and their globs; of several that fit the first is told."""

SUSPECT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("yt-dlp names the parts of a download so", ("*.temp.*", "*.f[0-9][0-9]*.*")),
    ("some tools name temporary files so", ("~*",)),
    ("a network mount names deleted files so that are still open", ("cifs[0-9a-f]*",)),
)
"""Names that may be recordings, or may be temporary: they are taken after a longer wait (`spool.quiet_suspect_s`)."""
