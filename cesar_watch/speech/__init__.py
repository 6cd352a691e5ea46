"""From recording to segments: decoding, windows, engine, checkpoint. Imports only core."""
