"""Commands, tables and progress on a terminal, exit codes."""
