"""Drop a recording into a folder; find its transcript in another."""

__version__ = "0.1.0"
