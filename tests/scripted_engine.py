"""A program that stands for the engine process and does what the names of the recordings ask for.

Started as a script by `EngineProcess`; imports nothing of ours, so that it begins in no time.

- `talk`: five windows, a tenth of a second each, when the one before is durable. `long`: a thousand. `short`: one.
- `stall`: opened, and then nothing comes; what the service asks for is obeyed. `deaf`: that is not obeyed either.
- `SIGSEGV`, `SIGKILL`: dies by that signal once it is opened; beside others if there are any within half a second.
- `memory`: fails for want of memory, likewise.

With the argument `unloaded` it never gets as far as to have loaded its model. With the path of a file that is not there
yet it makes that, and its GPU fails on everything.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

WINDOW_S = 10.0
PACE_S = 0.1
BESIDE_S = 0.5
WINDOWS = {"talk": 5, "short": 1, "long": 1000}
IS_UNLOADED = "unloaded" in sys.argv
GPU = next((Path(argument) for argument in sys.argv[1:] if "/" in argument), None)
IS_GPU_BROKEN = GPU is not None and not GPU.exists()

saying = threading.Lock()
opened: dict[int, str] = {}
together = threading.Event()


def say(number: int, type_: str, /, **event: Any) -> None:
    with saying:
        sys.stdout.write(json.dumps({"number": number, "event": {"type": type_, **event}}) + "\n")
        sys.stdout.flush()


def fail(number: int, reason: str) -> None:
    opened.pop(number, None)
    say(number, "failed", kind="transient", reason=reason, message="It failed.")


def window(number: int, index: int) -> None:
    if number not in opened:
        return
    start_s = index * WINDOW_S
    segment = {"start_s": start_s + 1, "end_s": start_s + 9, "text": f"text {index}", "avg_logprob": -0.2}
    found = {"speech_s": 8.0, "language": "en", "language_probability": 0.9, "segments": [segment]}
    say(number, "window", window={"index": index, "start_s": start_s, "end_s": start_s + WINDOW_S, **found})


def go_on(number: int, index: int) -> None:
    windows = WINDOWS.get(opened.get(number, ""), 0)
    if index < windows:
        timer = threading.Timer(PACE_S, window, [number, index])
        timer.daemon = True
        timer.start()
    elif windows:
        opened.pop(number)
        say(number, "finished", duration_s=windows * WINDOW_S, declared_s=None, skipped_packets=0)


def go_wrong(number: int, name: str) -> None:
    together.wait(BESIDE_S)
    if name == "memory":
        fail(number, "out_of_memory")
    else:
        os.kill(os.getpid(), signal.Signals[name])


def begin(number: int, message: dict[str, Any]) -> None:
    if IS_GPU_BROKEN:
        fail(number, "cuda_failed")
        return
    name = Path(unquote(message["path"])).stem.partition("-")[0]
    opened[number] = name
    if len(opened) > 1:
        together.set()
    say(number, "started", declared_s=None, expected_s=None)
    if name.startswith("SIG") or name == "memory":
        threading.Thread(target=go_wrong, args=(number, name), daemon=True).start()
    go_on(number, message["first_index"])


def obey(number: int, message: dict[str, Any]) -> None:
    if message["type"] == "transcribe":
        begin(number, message)
    elif number not in opened or opened[number] == "deaf":
        return
    elif message["type"] == "durable":
        go_on(number, message["index"] + 1)
    else:
        fail(number, {"conclude": "concluded", "drop": "dropped"}[message["type"]])


def main() -> None:
    say(0, "loading")
    if GPU is not None:
        GPU.touch()
    if not IS_UNLOADED:
        say(0, "loaded", device="cpu", compute_type="int8", load_s=0.1)
    for line in sys.stdin:
        order = json.loads(line)
        if not IS_UNLOADED:
            obey(order["number"], order["message"])


if __name__ == "__main__":
    main()
