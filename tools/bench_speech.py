"""Benchmarks of speech: the real service, beside a plain loop over faster-whisper, on the same work.

    python tools/bench_speech.py [--minutes 30] [--hours 24] [--clips 200]     all figures; `make bench` takes less of each

Both sides use a model of whisper-tiny's shape that says the same in every 30 seconds (tools/bench_model.py), the same
options, all cores, and begin with nothing loaded. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from rich.console import Console
from rich.table import Table

import cesar_watch
from cesar_watch.core.humanize import duration, size
from tools.bench_model import SIZES, make

Sound = npt.NDArray[np.float32]

MEETING = Path(cesar_watch.__file__).parent / "assets" / "demo" / "recordings" / "meeting.m4a"
RATE = 16_000
CLIP_S = (2.0, 10.0)
OPTIONS: dict[str, Any] = {"beam_size": 5, "word_timestamps": False, "condition_on_previous_text": False}
"""The engine's defaults, without word timestamps: noise has no words to find."""
