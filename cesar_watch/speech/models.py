"""Find the model that the settings name: on disk first, over the network only if allowed.

Nothing is loaded here, and no heavy library imported; the hub's client only when a hub id is asked for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from cesar_watch.core.config import EngineSettings
from cesar_watch.core.errors import ModelError

DEMO_DIR = Path(__file__).resolve().parent.parent / "assets" / "demo" / "model"
"""The model that ships in the package."""

_NEEDED: Final = {
    "model.bin": "the weights",
    "config.json": "the model's configuration",
    "tokenizer.json": "without it faster-whisper would ask the hub for one",
}
_FETCHED: Final = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]

_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)

SIZES: Final = {
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "tiny": "Systran/faster-whisper-tiny",
    "base.en": "Systran/faster-whisper-base.en",
    "base": "Systran/faster-whisper-base",
    "small.en": "Systran/faster-whisper-small.en",
    "small": "Systran/faster-whisper-small",
    "medium.en": "Systran/faster-whisper-medium.en",
    "medium": "Systran/faster-whisper-medium",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""faster-whisper's own table, which can't be imported without CTranslate2; a test compares them."""


def require_model(settings: EngineSettings) -> Path:
    """Return the folder of the model, complete; fetch it first if it is absent and `download` allows.

    What is on disk is used without touching the network. Fetching shows a progress bar on standard error
    and can take minutes; a broken-off one goes on where it was.

    Raises:
        ModelError: `model_incomplete`, `model_missing` (not on disk, and not to be fetched) or
            `model_unreachable` (fetching failed; what was fetched is kept).
    """
    folder = _on_disk(settings.model)
    if folder is not None:
        return _complete(folder)
    if settings.download == "never":
        raise ModelError(
            f'The model "{settings.model}" is not on disk, and engine.download = "never". Set it to "auto" once '
            "while the network is there, or set engine.model to a folder that holds the model.",
            reason="model_missing",
        )
    return _complete(_fetch(_hub_id(settings.model), settings.model))


def needs_fetching(settings: EngineSettings) -> bool:
    """Return whether the model is one of the hub's, not on disk, and may be fetched; never touches the network.

    Raises:
        ModelError: `model_missing`: it is neither a folder, nor a hub id, nor a size.
    """
    return settings.download == "auto" and _on_disk(settings.model) is None


def _on_disk(model: str) -> Path | None:
    """Return the model's folder, or None for a hub id that has not been fetched."""
    if model == "demo":
        return DEMO_DIR
    if _is_folder(model):
        return Path(model).expanduser().absolute()
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (heavy)
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(_hub_id(model), local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    # A fetch that broke off leaves a folder with some of the files: that counts as absent.
    return folder if not _missing(folder) else None


def _is_folder(model: str) -> bool:
    looks_like_path = model.startswith((".", "~", os.sep)) or model.count("/") > 1
    return looks_like_path or (model not in SIZES and Path(model).is_dir())


def _hub_id(model: str) -> str:
    if model in SIZES:
        return SIZES[model]
    if not _HUB_ID.fullmatch(model):
        raise ModelError(
            f'engine.model = "{model}" is neither a folder, nor a hub id, nor one of the sizes '
            f"{', '.join(sorted(SIZES))}.",
            reason="model_missing",
        )
    return model


def _fetch(hub_id: str, model: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (heavy)
    from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_FETCHED))
    except RepositoryNotFoundError as fault:
        raise ModelError(f'The hub knows no model "{hub_id}". Correct engine.model.', reason="model_missing") from fault
    # Below the hub's own errors lie those of its HTTP library, which changes from version to version.
    except Exception as fault:
        raise ModelError(
            f'The model "{model}" could not be fetched from the hub ({type(fault).__name__}: {fault}). See that the '
            "network and the disk have room for it, or set engine.model to a folder that holds the model.",
            reason="model_unreachable",
        ) from fault


def _missing(folder: Path) -> list[str]:
    return [name for name in _NEEDED if not (folder / name).is_file()]


def _complete(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelError(f"The model folder {folder} does not exist. Correct engine.model.", reason="model_missing")
    missing = _missing(folder)
    if missing:
        files = "; ".join(f"{name} ({_NEEDED[name]})" for name in missing)
        raise ModelError(
            f"The model in {folder} is incomplete: it lacks {files}. "
            "Copy the missing files there; if it came from the hub, see that the network is there, or choose another.",
            reason="model_incomplete",
        )
    return folder
