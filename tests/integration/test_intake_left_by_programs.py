"""What programs leave in a drop folder, by the names that they really give, and what `why` says of each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.verdict import Verdict, judge_path

IGNORED = """
    Syncthing: .syncthing.talk.mp3.tmp  ~syncthing~talk.mp3.tmp  .syncthing.tmp.123456  .stignore
    rsync: .talk.mp3.vbIP0w
    rclone: talk.mp3.a1b2c3d4.partial
    Nextcloud, downloading: .talk.mp3.~1f2e
    Nextcloud, uploading: talk.mp3.ocTransferId1234567.part
    Nextcloud's own list: talk.mp3~  talk.mp3.filepart  talk.unison  .talk.mp3.swp  talk.kate-swp  talk.mp3.~1~
    Nextcloud's own list: x.csync_timedif.ctmp  ~$talk.mp3  .~lock.talk.mp3#
    Dropbox: .dropbox  .dropbox.attr
    OneDrive: .~talk.mp3  talk.mp3.tmp  talk.swp
    Google Drive: talk.mp3.tmp.drivedownload  talk.mp3.tmp.driveupload  notes.gdoc
    iCloud: .talk.mp3.icloud
    Resilio: talk.mp3.!sync  talk.mp3.SyncPart  talk.mp3.SyncTemp  talk.mp3.SyncOld  .SyncID  .SyncIgnore  talk.mp3.bts
    Seafile: .seafile-data  talk.mp3.sftmp
    MEGA: .getxfer.123.mega  talk.mp3.mega
    Unison: .unison.talk.mp3  talk.mp3.unison.tmp
    FreeFileSync: talk.mp3.ffs_tmp  sync.ffs_lock
    Chrome: talk.mp3.crdownload  Unconfirmed_1234.crdownload  .com.google.Chrome.AbCdEf  .org.chromium.Chromium.AbCdEf
    Firefox: talk.mp3.part
    Safari: talk.mp3.download
    others: talk.mp3.opdownload  talk.mp3.uploading  talk.mp3.temp  talk.mp3.inprogress  talk.mp3.incomplete
    lftp: .in.talk.mp3
    aria2, axel: talk.mp3.aria2  talk.mp3.st
    torrents: talk.mp3.!qB  talk.mp3.!ut  .talk.parts
    yt-dlp: talk.mp4.part  talk.mp4.part-Frag12  talk.mp4.ytdl
    GVfs: .goutputstream-A1B2C3
    Android: .pending-1700000000-talk.mp3  .trashed-1700000000-talk.mp3
    macOS: ._talk.mp3  .DS_Store  .AppleDB  .AppleDesktop  .apdisk  .localized  .smbdelete01a
    NFS, FUSE: .nfs0000000001a2b3c400000001  .fuse_hidden0000001a00000001
    Windows: Thumbs.db  desktop.ini  ~$talk.docx  talk.lnk
    editors: talk.txt~  talk.swo  .directory
    Zoom: double_click_to_convert_01.zoom  talk.mp4.tmp
    ours: .cesar-0123abcd
"""

SUSPECT = """
    OneDrive: ~talk.mp3
    yt-dlp: talk.temp.mp4  talk.temp.m4a  talk.temp.mkv  talk.temp.webm  talk.f140.m4a  talk.f251.webm  talk.f137.mp4
    CIFS: cifs1a2b.mp3
"""

TAKEN = """
    Syncthing: talk.sync-conflict-20260301-120000-ABCDEFG.mp3
    Nextcloud: talk_conflict-20260301-120000.mp3
    Dropbox: talk_(Ada's_conflicted_copy_2026-03-01).mp3
    cp, scp, curl, tar, OBS: talk.mp3  2026-03-01_12-00-00.mkv
    people: part.mp3  temp.wav  tmp.part.mp3  download.m4a  f1.mp3  talk.f.mp3
"""

FOLDERS = """
    Syncthing: .stfolder  .stfolder.removed-20260301-120000  .stversions
    rsync: .rsync-partial  .rsync-tmp  .~tmp~
    Dropbox: .dropbox.cache
    Google Drive: .tmp.drivedownload  .tmp.driveupload
    Resilio: .sync  .SyncArchive
    Safari: talk.mp3.download
    macOS: .AppleDouble  .fseventsd  .Spotlight-V100  .Trashes  .TemporaryItems  Temporary%Items  Network%Trash%Folder
    macOS: .DocumentRevisions-V100  __MACOSX
    Synology: @eaDir  #recycle  @tmp  #snapshot  SYNO@talk@
    QNAP: .@__thumb  @Recycle  @Recently-Snapshot  .streams
    Windows: $RECYCLE.BIN  System%Volume%Information
    Linux: .Trash-1000  lost+found
"""


def names(table: str) -> list[str]:
    """Return the names of a table; in those with spaces % stands for one."""
    rows = (line.partition(": ")[2] for line in table.splitlines())
    return [name.replace("%", " ") for row in rows for name in row.split()]


def judged(inbox: Path, name: str, *ignore: str) -> Verdict:
    """Return what is made of a file of this name."""
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sound")
    try:
        return judge_path(inbox, path, SpoolSettings(recursive=True, ignore=list(ignore)), is_remote=False)
    finally:
        path.unlink()


@pytest.mark.parametrize("name", [*names(IGNORED), "Icon\r"])
def test_file_that_a_program_leaves_is_never_taken_in_any_case(tmp_path: Path, name: str) -> None:
    for variant in {name, name.upper(), name.lower(), name.swapcase()} - {".CESAR-0123ABCD"}:
        verdict = judged(tmp_path, variant)
        assert (verdict.kind, variant) == ("ignored", variant)
        assert verdict.reason in ("ignored_name", "our_own", "not_media")


@pytest.mark.parametrize("name", [name for name in names(IGNORED) if not name.startswith((".cesar-", ".CESAR-"))])
def test_name_that_a_program_gives_is_a_rule_and_no_accident_of_its_ending(tmp_path: Path, name: str) -> None:
    """All but Google's links, which are no media."""
    expected = "not_media" if name.endswith(".gdoc") else "ignored_name"
    assert judged(tmp_path, name).reason == expected


@pytest.mark.parametrize("name", names(SUSPECT))
def test_file_that_may_be_temporary_or_a_recording_waits_longer_in_any_case(tmp_path: Path, name: str) -> None:
    for variant in (name, name.upper(), name.lower()):
        verdict = judged(tmp_path, variant)
        assert (verdict.kind, verdict.reason) == ("waiting", "suspect_name")
        assert "600 s" in verdict.message


@pytest.mark.parametrize("name", names(TAKEN))
def test_file_that_is_somebodys_recording_is_taken_in_any_case(tmp_path: Path, name: str) -> None:
    for variant in (name, name.upper(), name.lower()):
        verdict = judged(tmp_path, variant)
        assert (verdict.kind, verdict.reason) == ("waiting", "settling")


@pytest.mark.parametrize("name", names(FOLDERS))
def test_folder_of_a_program_is_not_looked_into_in_any_case(tmp_path: Path, name: str) -> None:
    for variant in (name, name.upper(), name.lower()):
        verdict = judged(tmp_path, os.path.join(variant, "talk.mp3"))
        assert (verdict.kind, verdict.reason) == ("ignored", "ignored_name")
        assert f"for its folder {variant}," in verdict.message


@pytest.mark.parametrize("name", names(IGNORED + SUSPECT + FOLDERS))
def test_names_of_programs_can_be_taken_all_the_same_but_for_ours(tmp_path: Path, name: str) -> None:
    verdict = judged(tmp_path, f"{name}/talk.mp3", "!*")
    assert verdict.kind == ("ignored" if name.startswith(".cesar-") else "waiting")


@pytest.mark.parametrize("name", names(TAKEN + SUSPECT))
def test_any_name_can_be_ignored_besides(tmp_path: Path, name: str) -> None:
    verdict = judged(tmp_path, name, "*")
    assert (verdict.kind, verdict.reason) == ("ignored", "ignored_name")
