"""The hub that models come from, and its cache on this disk. All that asks its client does so here.

The client is imported when it is needed: that takes longer than all the rest of a command that doesn't.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from pathlib import Path
from typing import Final

from cesar_watch.core.errors import ModelError

_WEIGHTS: Final = "model.bin"
_FETCHED: Final = ["config.json", "preprocessor_config.json", _WEIGHTS, "tokenizer.json", "vocabulary.*"]
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def cached(hub_id: str) -> Path | None:
    """Return the folder of what was fetched of a model, whole or not; never touches the network."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (heavy)
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        # Without the patterns, files that were never wanted would count as missing.
        return Path(snapshot_download(hub_id, allow_patterns=_FETCHED, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def cached_ids() -> list[str]:
    """Return the ids of everything in the cache that calls itself a model, sorted; never touches the network."""
    from huggingface_hub import scan_cache_dir  # noqa: PLC0415  (heavy)
    from huggingface_hub.errors import CacheNotFound  # noqa: PLC0415

    try:
        return sorted(found.repo_id for found in scan_cache_dir().repos if found.repo_type == "model")
    except CacheNotFound:
        return []


def fetch(hub_id: str, model: str) -> Path:
    """Bring a model into the cache, with progress on standard error, and return its folder.

    It can take minutes. What came is kept, however this ends, and the next call goes on behind it.

    Args:
        model: What a person calls it.

    Raises:
        ModelError: `model_missing`, the hub has no such model; `model_unreachable`, whatever else goes wrong.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (heavy)
    from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415

    try:
        _fetch_weights(hub_id)
        return Path(snapshot_download(hub_id, allow_patterns=_FETCHED))
    except ModelError:
        raise
    except RepositoryNotFoundError as fault:
        raise ModelError(
            f'The hub knows no model "{hub_id}", or does not show it to you. Correct its name.', reason="model_missing"
        ) from fault
    # Below the hub's own errors lie those of its HTTP library, which changes from version to version.
    except Exception as fault:
        raise _unreachable(model, fault) from fault


def _unreachable(model: str, fault: Exception) -> ModelError:
    first_line = str(fault).partition("\n")[0]
    return ModelError(
        f'The model "{model}" could not be fetched from the hub ({type(fault).__name__}: {first_line}). See that the '
        "network is there, and room on the disk; what came is kept. Without a network: run "
        f"`cesar-watch models pull {model}` on a machine that has one, copy the folder that "
        f"`cesar-watch models path {model}` prints there (cp -rL: it holds links), and set engine.model to the copy.",
        reason="model_unreachable",
    )


def _fetch_weights(hub_id: str) -> None:
    """Bring the one large file into the cache, going on behind what earlier calls left.

    The client itself begins anew each time since its version 1.31, and would for gigabytes.
    """
    from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url  # noqa: PLC0415  (heavy)
    from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415
    from huggingface_hub.file_download import repo_folder_name  # noqa: PLC0415

    url = hf_hub_url(hub_id, _WEIGHTS)
    try:
        found = get_hf_file_metadata(url, token=get_token())
    except EntryNotFoundError as fault:
        raise ModelError(
            f'"{hub_id}" is on the hub, but is no model for faster-whisper: it has no {_WEIGHTS}. Choose one that was '
            "converted for CTranslate2.",
            reason="model_missing",
        ) from fault
    if found.etag is None or found.size is None or not _SHA256.fullmatch(found.etag):
        return  # of another kind than the hub's large files: it comes with the rest
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model") / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    if not (blobs / found.etag).exists():
        _fetch_blob(url, blobs / found.etag, found.size)


def _fetch_blob(url: str, blob: Path, size_bytes: int) -> None:
    """Fetch a file whose name is its SHA-256. Of several processes one does it, and the others wait."""
    from huggingface_hub import get_token  # noqa: PLC0415  (heavy)
    from huggingface_hub.file_download import http_get  # noqa: PLC0415

    part = blob.with_name(f"{blob.name}.cesar-part")
    with part.open("a+b") as stream:
        # Where there are no locks two processes may spoil each other's part, which its hash tells.
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        if blob.exists():
            part.unlink(missing_ok=True)
            return
        done = stream.seek(0, os.SEEK_END)
        if done > size_bytes:
            done = stream.truncate(0)
        if done < size_bytes:
            headers = {"authorization": f"Bearer {token}"} if (token := get_token()) else {}
            http_get(
                url, stream, resume_size=done, headers=headers, expected_size=size_bytes, displayed_filename=_WEIGHTS
            )
        stream.flush()
        os.fsync(stream.fileno())
        stream.seek(0)
        if hashlib.file_digest(stream, "sha256").hexdigest() != blob.name:
            part.unlink()
            raise OSError(f"what came of {_WEIGHTS} was not what the hub has, and was thrown away; fetch it again")
        part.rename(blob)
