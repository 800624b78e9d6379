"""Measurements, each a ratio against something in the same run."""
