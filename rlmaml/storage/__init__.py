"""Checkpoints, and the names and layout of a run directory."""
