"""The independent checker: looks at a spool from outside and says which invariants do not hold.

Runs in its own process and imports nothing of ours, so that no bug of the product can hide in it: folders, a copy of
the ledger, the standard library. Reads requests on standard input, a JSON object a line, and answers each with the
list of its violations. Stage A holds at any instant, also right after a crash; stage R after everything ran out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

ROOMS = ("inbox", "processing", "outbox", "archive", "failed", "duplicates")
RECORDING_ROOMS = ("inbox", "processing", "archive", "failed", "duplicates")
ROOM_OF = {"completed": "archive", "failed": "failed", "cancelled": "failed", "duplicate": "duplicates"}
USUAL: dict[str, Any] = {
    "recordings": [],
    "settings": {},
    "keep": {},
    "later": {},
    "own_attempts": 0,
    "rebuilt": False,
    "sidecar_away": False,
    "two_names": False,
    "copied": False,
    "withdrawn": [],
}
"""What is expected where a request says nothing else."""
AT_THE_ROOT = {*ROOMS, ".cesar-watch", ".state"}


class Look:
    """One look at one spool."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.root = Path(request["root"])
        self.state_dir = Path(request["state_dir"])
        self.delivered = Path(request["delivered"])
        self.expected = USUAL | request["expected"]
        self.faults = request["faults"]
        self.wrong: list[str] = []
        self.files = {path: _sha256(path) for room in ROOMS for path in _files(self.root / room)}
        self.sidecars = self._read_sidecars()
        self.rows: dict[str, dict[str, Any]] = {}
        self.notices: list[dict[str, Any]] = []
        self.transitions: list[dict[str, Any]] = []

    def say(self, words: str) -> None:
        """Note a violation."""
        self.wrong.append(words)

    def shown(self, path: Path) -> str:
        """Return a path as short printable text."""
        return ascii(str(path.relative_to(self.root)))

    def _read_sidecars(self) -> dict[Path, dict[str, Any]]:
        found = {}
        for path in self.files:
            if path.name.endswith(".status.json") and path.is_relative_to(self.root / "outbox"):
                try:
                    found[path] = json.loads(path.read_bytes())
                except ValueError:
                    self.say(f"sidecar {self.shown(path)} does not parse")
        return found

    def read_ledgers(self, stage: str) -> None:
        """Read this instance's ledger, and those of others on the same spool."""
        is_spoilt = self.expected["rebuilt"] and stage == "A"
        if is_spoilt:
            return
        self._read_ledger(self.state_dir)
        if not self.expected["rebuilt"]:
            for state_dir in self.root.parent.glob("state-*"):
                self._read_ledger(state_dir)

    def _read_ledger(self, state_dir: Path) -> None:
        """Copy the ledger with its -wal and read the copy: an open handle would hold the mount."""
        if not (state_dir / "ledger.db").exists():
            return
        with tempfile.TemporaryDirectory(prefix="cesar-checker-", dir="/dev/shm") as folder:
            for name in ("ledger.db", "ledger.db-wal"):
                if (state_dir / name).exists():
                    shutil.copyfile(state_dir / name, Path(folder) / name)
            base = sqlite3.connect(Path(folder) / "ledger.db")
            base.row_factory = sqlite3.Row
            try:
                verdict = base.execute("PRAGMA integrity_check").fetchone()[0]
                if verdict != "ok":
                    self.say(f"ledger: {verdict}")
                tables = {row[0] for row in base.execute("SELECT name FROM sqlite_master")}
                if "job" in tables:
                    self.rows |= {row["job_id"]: dict(row) for row in base.execute("SELECT * FROM job")}
                    self.notices += [dict(row) for row in base.execute("SELECT * FROM notice")]
                    self.transitions += [dict(row) for row in base.execute("SELECT * FROM transitions ORDER BY number")]
            except sqlite3.DatabaseError as fault:
                self.say(f"ledger can't be read: {fault}")
            finally:
                base.close()

    # --- stage A ----------------------------------------------------------------------------------

    def check_any_instant(self) -> None:
        """What holds at any instant."""
        for entry in self.root.iterdir():
            if entry.name not in AT_THE_ROOT:
                self.say(f"{entry.name} was made beside the rooms")
        occupied = self.delivered.with_name(f"{self.delivered.name}.occupied").exists()
        keep = self.expected["keep"] | (self.expected["later"] if occupied else {})
        for name, sha256 in keep.items():
            if self.files.get(self.root / name) != sha256:
                self.say(f"the stranger's file {name} was touched")
        if self.expected["copied"]:
            self._check_inbox_untouched()
        for recording in {one["sha256"]: one for one in self.expected["recordings"]}.values():
            self._check_conserved(recording)
        for name, sha256 in self.expected["settings"].items():
            self._check_settings_conserved(name, sha256)
        self._check_outputs_whole()
        self._check_sidecars()
        for row in self.rows.values():
            self._check_row(row)

    def _check_inbox_untouched(self) -> None:
        """See that an inbox of somebody else's holds what they put there, and nothing more."""
        here = {path: sha256 for path, sha256 in self.files.items() if path.is_relative_to(self.root / "inbox")}
        kept = [one for one in self.expected["recordings"] if one["name"] not in self.expected["withdrawn"]]
        theirs = {self.root / "inbox" / one["name"]: one["sha256"] for one in kept}
        theirs |= {self.root / "inbox" / name: sha256 for name, sha256 in self.expected["settings"].items()}
        for path in here.keys() | theirs.keys():
            if here.get(path) != theirs.get(path):
                self.say(f"{self.shown(path)} in somebody else's inbox was touched")

    def _places(self, sha256: str) -> list[Path]:
        rooms = [self.root / room for room in RECORDING_ROOMS]
        return [
            path
            for path, content in self.files.items()
            if content == sha256
            and not path.name.startswith(".cesar-")
            and any(path.is_relative_to(room) for room in rooms)
        ]

    def _check_conserved(self, recording: dict[str, Any]) -> None:
        """Look for all recordings of this content: as many files as were dropped."""
        places = self._places(recording["sha256"])
        if self.expected["copied"] and any(path.is_relative_to(self.root / "inbox") for path in places):
            # A copy in work may lie beside its source, and nowhere else.
            places = [path for path in places if not path.is_relative_to(self.root / "processing")]
        dropped = [one for one in self.expected["recordings"] if one["sha256"] == recording["sha256"]]
        inodes = {(path.stat().st_dev, path.stat().st_ino) for path in places}
        if len(inodes) > len(dropped):
            self.say(f"{recording['name']!a} lies in several places: {', '.join(map(self.shown, places))}")
        if len(places) > len(inodes) and not self.expected["two_names"]:
            self.say(f"{recording['name']!a} has several names: {', '.join(map(self.shown, places))}")
        if not self.expected["sidecar_away"] and not {"gone", "forgotten"} & set(recording["ends"]):
            self._check_told_of(recording, places)
        if len(inodes) < len(dropped) and not {"gone"} & set(recording["ends"]):
            self.say(f"{recording['name']!a} is LOST")

    def _check_told_of(self, recording: dict[str, Any], places: list[Path]) -> None:
        told = Counter(
            fields["status"] for fields in self.sidecars.values() if fields["source"]["sha256"] == recording["sha256"]
        )
        for status, room in (("completed", "archive"), ("duplicate", "duplicates")):
            resting = sum(path.is_relative_to(self.root / room) for path in places)
            if resting > told[status]:
                self.say(f"{recording['name']!a} is in {room}/ without its final sidecar")

    def _check_settings_conserved(self, name: str, sha256: str) -> None:
        """A settings file is in one place, until it is deleted with its recording."""
        places = self._places(sha256)
        inodes = {(path.stat().st_dev, path.stat().st_ino) for path in places}
        gone = [one["name"] for one in self.expected["recordings"] if "gone" in one["ends"]]
        recording, _ = os.path.splitext(name)
        if len(inodes) > 1 or (len(places) > 1 and not self.expected["two_names"]):
            self.say(f"the settings {name!a} lie in several places: {', '.join(map(self.shown, places))}")
        if not inodes and recording not in gone:
            self.say(f"the settings {name!a} are LOST")

    def _check_outputs_whole(self) -> None:
        texts = {recording["text"] for recording in self.expected["recordings"]}
        for path in self.files:
            strangers = path.relative_to(self.root).as_posix() in self.expected["keep"]
            if strangers or not path.is_relative_to(self.root / "outbox"):
                continue
            if path.suffix == ".txt" and " ".join(path.read_text().split()) not in texts:
                self.say(f"output {self.shown(path)} is not a whole transcript: {path.read_text()!r}")
            elif path.suffix == ".json":
                try:
                    json.loads(path.read_bytes())
                except ValueError:
                    self.say(f"output {self.shown(path)} does not parse")

    def _check_sidecars(self) -> None:
        for job_id, number in Counter(fields["job_id"] for fields in self.sidecars.values()).items():
            if number > 1:
                self.say(f"job {job_id} has {number} sidecars")
        for path, fields in self.sidecars.items():
            if fields["job_id"] not in self.rows and not self.expected["rebuilt"]:
                self.say(f"the ledger has forgotten the job of {self.shown(path)}, which is {fields['status']}")
            if fields["status"] == "completed" and not self._is_being_deleted(fields["job_id"]):
                if not fields["outputs"]:
                    self.say(f"{self.shown(path)} says completed but lists no outputs")
                for name in fields["outputs"]:
                    self._check_output(path.parent / name, fields)
                self._check_kept(fields)
            if fields["status"] == "duplicate":
                self._check_pointers(path, fields)

    def _check_pointers(self, path: Path, fields: dict[str, Any]) -> None:
        """See that a duplicate's sidecar leads to the outputs of a completed one with the same content."""
        twins = [other for other in self.sidecars if self.sidecars[other]["job_id"] == fields["duplicate_of"]]
        if not fields["outputs"]:
            self.say(f"{self.shown(path)} is a duplicate that points at nothing")
        for name in fields["outputs"]:
            output = Path(os.path.normpath(path.parent / name))
            self._check_output(output, fields)
            if not any(output in self._outputs_of(twin) for twin in twins):
                self.say(
                    f"{self.shown(path)} points at {self.shown(output)}, which is not job {fields['duplicate_of']}'s"
                )
        for twin in twins:
            told = self.sidecars[twin]
            if told["status"] != "completed" or told["source"]["sha256"] != fields["source"]["sha256"]:
                self.say(f"{self.shown(path)} is a duplicate of {self.shown(twin)}, which is {told['status']}")

    def _outputs_of(self, path: Path) -> list[Path]:
        return [path.parent / name for name in self.sidecars[path]["outputs"]]

    def _is_being_deleted(self, job_id: str) -> bool:
        return job_id in self.rows and str(self.rows[job_id]["request"]).startswith("delete")

    def _check_output(self, path: Path, fields: dict[str, Any]) -> None:
        if path not in self.files:
            self.say(f"job {fields['job_id']} is completed, but {self.shown(path)} is missing")
        elif path.suffix == ".txt":
            texts = {one["sha256"]: one["text"] for one in self.expected["recordings"]}
            text = " ".join(path.read_text().split())
            if text != texts.get(fields["source"]["sha256"]):
                self.say(f"{self.shown(path)} is not the transcript of its recording: {text!r}")

    def _check_kept(self, fields: dict[str, Any]) -> None:
        """See that the transcript of a completed job is kept, whole, in the state directory of who completed it."""
        job_id = fields["job_id"]
        kept = [path for path in self._kept() if path.name == f"{job_id}.json.gz"]
        if len(kept) != 1:
            self.say(f"job {job_id} is completed, and its transcript is kept {len(kept)} times")
            return
        try:
            windows = json.loads(gzip.decompress(kept[0].read_bytes()))["transcript"]["windows"]
        except (OSError, EOFError, zlib.error, ValueError) as fault:
            self.say(f"the kept transcript of job {job_id} is damaged: {fault}")
            return
        texts = {one["sha256"]: one["text"] for one in self.expected["recordings"]}
        text = " ".join(segment["text"] for window in windows for segment in window["segments"])
        if text.split() != texts.get(fields["source"]["sha256"], "none: nobody delivered that").split():
            self.say(f"the kept transcript of job {job_id} is not that of its recording: {text!r}")

    def _kept(self) -> list[Path]:
        state_dirs = {self.state_dir, *self.root.parent.glob("state-*")}
        return [path for folder in state_dirs for path in folder.glob("transcripts/*")]

    def _check_row(self, row: dict[str, Any]) -> None:
        if row["state"] == "claiming":
            return
        places = [self.root / os.fsdecode(row[key]) for key in ("source", "moving_to") if row[key] is not None]
        there = [path for path in places if path in self.files]
        if row["sha256"] and there and all(self.files[path] != row["sha256"] for path in there):
            self.say(f"job {row['job_id']}: its recording does not hash to its sha256")
        known = [fields for fields in self.sidecars.values() if fields["job_id"] == row["job_id"]]
        if row["state"] == "completed" and not self._is_being_deleted(row["job_id"]):
            if not self.expected["sidecar_away"] and (not known or known[0]["status"] != "completed"):
                self.say(f"job {row['job_id']} is completed without its final sidecar")
            if not there:
                self.say(f"job {row['job_id']} is completed, but its recording is not in archive/")
        if row["state"] == "duplicate":
            if not known or known[0]["status"] != "duplicate":
                self.say(f"job {row['job_id']} is a duplicate without its final sidecar")
            if not there:
                self.say(f"job {row['job_id']} is a duplicate, but its recording is not in duplicates/")

    # --- stage R ----------------------------------------------------------------------------------

    def check_at_rest(self) -> None:
        """What holds when everything ran out."""
        for recording in self.expected["recordings"]:
            self._check_end(recording)
        for name, sha256 in self.expected["settings"].items():
            self._check_settings_rest(name, sha256)
        self._check_nothing_left()
        self._check_no_strange_rows()
        self._check_notices()
        self._check_history()

    def _check_end(self, recording: dict[str, Any]) -> None:
        name, ends = recording["name"], recording["ends"]
        rows = [row for row in self.rows.values() if self._dropped_as(row) == name]
        if len(rows) > 1:
            self.say(f"{name!a} has {len(rows)} jobs")
        if not rows:
            self._check_without_job(recording)
            return
        row = rows[0]
        if row["state"] not in ends:
            self.say(f"{name!a} ended as {row['state']} ({row['error_reason']}), not {' or '.join(ends)}")
            return
        path = self.root / os.fsdecode(row["source"])
        stays = self.expected["copied"] and name not in self.expected["withdrawn"]
        room = "inbox" if stays else ROOM_OF[row["state"]]
        if self.files.get(path) != recording["sha256"] or path.relative_to(self.root).parts[0] != room:
            self.say(f"{name!a} is {row['state']}, but {self.shown(path)} is not its recording")
        if row["state"] in ("failed", "cancelled") and not stays:
            reasons = [other for other in path.parent.iterdir() if self._is_reason(other, row["job_id"])]
            if len(reasons) != 1:
                self.say(f"{name!a} is {row['state']} with {len(reasons)} reason files")
        self._check_final_sidecar(row)
        if row["state"] == "completed":
            transcripts = [other for other in self.files if self._is_transcript(other, recording["text"])]
            if len(transcripts) != self._transcripts_due(recording["sha256"]):
                self.say(f"{name!a} has {len(transcripts)} transcripts: {', '.join(map(self.shown, transcripts))}")
        own = self.expected["own_attempts"]
        # A second fault gives a recording that has trouble of its own one more life to have it in.
        if row["state"] == "completed" and row["attempts"] > 1 + own + (self.faults - 1 if own else 0):
            self.say(f"{name!a} used {row['attempts']} attempts, though no fault was its own")

    def _transcripts_due(self, sha256: str) -> int:
        """Return how many recordings of this content have a transcript of their own: those that must; at least one."""
        ends = [one["ends"] for one in self.expected["recordings"] if one["sha256"] == sha256]
        return max(1, ends.count(["completed"]))

    def _check_settings_rest(self, name: str, sha256: str) -> None:
        """The settings of a folder stay; those of a recording lie beside it, and were obeyed; so does its marker."""
        if name.endswith(".cesar.toml"):
            if self.files.get(self.root / "inbox" / name) != sha256:
                self.say(f"the settings {name!a} of a folder did not stay")
            return
        recording, ending = os.path.splitext(name)
        rows = [row for row in self.rows.values() if self._dropped_as(row) == recording]
        for row in rows:
            beside = self.root / os.fsdecode(row["source"] + ending.encode())
            if self.files.get(beside) != sha256:
                self.say(f"what was dropped as {name!a} does not lie beside its recording, at {self.shown(beside)}")
            if ending != ".toml":
                continue
            options = json.loads(row["options"])
            if not any(layer["kind"] == "recording" for layer in options.get("overrides", [])):
                self.say(f"the settings {name!a} were not read for their recording")
            if row["state"] == "completed" and options["engine"]["beam_size"] != 3:
                self.say(f"the settings {name!a} were not obeyed")

    def _is_transcript(self, path: Path, text: str) -> bool:
        in_the_outbox = path.is_relative_to(self.root / "outbox") and path.suffix == ".txt"
        return in_the_outbox and path.read_text().split() == text.split()

    def _dropped_as(self, row: dict[str, Any]) -> str:
        return os.fsdecode(os.path.join(row["subfolder"], row["name"]))

    def _check_without_job(self, recording: dict[str, Any]) -> None:
        name, places = recording["name"], self._places(recording["sha256"])
        rooms = {path.relative_to(self.root).parts[0] for path in places}
        rest = "inbox" if self.expected["copied"] else "archive"
        fits = {"waiting": {"inbox"}, "gone": set(), "forgotten": {rest}}
        if not any(end in fits and rooms == fits[end] for end in recording["ends"]):
            self.say(f"{name!a} has no job and lies in {rooms or 'no room'}")
        for path in self.sidecars:
            if self.sidecars[path]["source"]["sha256"] == recording["sha256"]:
                self.say(f"{name!a} has no job, but the sidecar {self.shown(path)}")

    def _is_reason(self, path: Path, job_id: str) -> bool:
        return path.name.endswith(".reason.txt") and f"job_id: {job_id}" in path.read_text(errors="replace")

    def _check_final_sidecar(self, row: dict[str, Any]) -> None:
        known = [fields for fields in self.sidecars.values() if fields["job_id"] == row["job_id"]]
        if not known:
            self.say(f"job {row['job_id']} has no sidecar")
            return
        told = known[0]
        expected = {"status": row["state"], "outputs": json.loads(row["outputs"])}
        for key, value in expected.items():
            if told[key] != value:
                self.say(f"job {row['job_id']}: its sidecar says {key} {told[key]}, the ledger {value}")
        if row["sha256"] and told["source"]["sha256"] != row["sha256"]:
            self.say(f"job {row['job_id']}: its sidecar tells of another sha256")

    def _check_nothing_left(self) -> None:
        stays = self.expected["copied"]  # looked at by itself
        waiting = {one["name"] for one in self.expected["recordings"] if stays or "waiting" in one["ends"]}
        waiting |= self.expected["settings"].keys() if stays else set()
        for path in self.files:
            where = path.relative_to(self.root)
            is_of_folder = where.name == ".cesar.toml"
            if where.parts[0] == "inbox" and not is_of_folder and str(where.relative_to("inbox")) not in waiting:
                self.say(f"{self.shown(path)} was left in the inbox")
            if path.name.startswith(".cesar-"):
                self.say(f"the temporary file {self.shown(path)} was left")
        for folder in (self.root / "processing").glob("*/*"):
            self.say(f"{self.shown(folder)} was left in processing/")
        completed = {fields["job_id"] for fields in self.sidecars.values() if fields["status"] == "completed"}
        for path in self._kept():
            if path.name.removesuffix(".json.gz") not in completed:
                self.say(f"the kept transcript {path.name} is of no completed job")

    def _check_no_strange_rows(self) -> None:
        names = {one["name"] for one in self.expected["recordings"]}
        for row in self.rows.values():
            if self._dropped_as(row) not in names:
                self.say(f"job {row['job_id']} is of a recording that nobody dropped")
        jobs = {fields["job_id"] for fields in self.sidecars.values()}
        for job_id in jobs - set(self.rows):
            self.say(f"the sidecar of job {job_id} has no row")

    def _check_notices(self) -> None:
        sent = Counter(json.loads(line)["title"] for line in self._delivered())
        for row in self.rows.values():
            if row["state"] not in ("completed", "failed", "duplicate"):
                continue
            notices = [one for one in self.notices if one["job_id"] == row["job_id"] and one["event"] == row["state"]]
            has_history = any(one["job_id"] == row["job_id"] for one in self.transitions)
            if not has_history and not self.expected["rebuilt"]:
                self.say(f"job {row['job_id']} has no history")
            if has_history and not notices:
                self.say(f"job {row['job_id']} is {row['state']}, and no notice was queued")
            for notice in notices:
                if notice["status"] != "sent":
                    self.say(f"a notice of job {row['job_id']} is {notice['status']}")
                if not 1 <= sent[notice["title"]] <= len(notices) + self.faults:
                    self.say(f"{notice['title']!a} was delivered {sent[notice['title']]} times")

    def _delivered(self) -> list[str]:
        return self.delivered.read_text().splitlines() if self.delivered.exists() else []

    def _check_history(self) -> None:
        last: dict[str, str] = {}
        for change in self.transitions:
            before = last.get(change["job_id"])
            if before is not None and before != change["from_state"]:
                self.say(f"job {change['job_id']}: its history jumps from {before} to {change['from_state']}")
            last[change["job_id"]] = change["to_state"]
        for job_id, state in last.items():
            if job_id in self.rows and self.rows[job_id]["state"] != state:
                self.say(f"job {job_id} is {self.rows[job_id]['state']}, its history ends at {state}")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check(request: dict[str, Any]) -> list[str]:
    """Return every violation, in words."""
    look = Look(request)
    look.read_ledgers(request["stage"])
    look.check_any_instant()
    if request["stage"] == "R":
        look.check_at_rest()
    return look.wrong


class Checker:
    """The checker's process, as its users see it. Owned by one thread."""

    def __init__(self) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        self._process = subprocess.Popen(
            [sys.executable, "-E", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def check(
        self, root: Path, state_dir: Path, delivered: Path, stage: str, expected: dict[str, Any], *, faults: int = 1
    ) -> list[str]:
        """Return what is wrong; `faults` is how many kills or errors there were, and so how much may be repeated."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"root": str(root), "state_dir": str(state_dir), "delivered": str(delivered)}
        request |= {"stage": stage, "expected": expected, "faults": faults}  # type: ignore[dict-item]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: list[str] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Answer until standard input closes."""
    for line in sys.stdin:
        try:
            answer = check(json.loads(line))
        except Exception as fault:
            answer = [f"the checker failed: {type(fault).__name__}: {fault}"]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
