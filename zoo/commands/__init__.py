"""The commands of `python -m zoo`, one file each."""
