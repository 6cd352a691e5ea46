"""From recording to segments: decoding, windows, engine, checkpoint. Imports only core.

Modules that import the heavy libraries at their top are for the engine's side alone: `audio`, `vad`,
`loading`, `recognizer`, `perform`, `engine_main`. Everything else may be imported by any process at no cost.
"""

import os

# onnxruntime 1.29 and later phone home unless this is set before its import; every import of this
# room passes here first, so no later module can be too early.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
