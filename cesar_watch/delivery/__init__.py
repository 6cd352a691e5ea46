"""Files and messages that leave the house: formats, sidecar, publishing, notices. Imports only core."""
