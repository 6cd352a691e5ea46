"""The actors that own threads, signals and clocks; they carry values from stage to stage."""
