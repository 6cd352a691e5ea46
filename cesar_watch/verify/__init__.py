"""The invariants, checked by somebody who need not believe the writer: nothing of ours is imported here."""
