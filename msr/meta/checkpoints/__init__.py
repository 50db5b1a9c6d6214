"""Checkpoints: files that hold the state of an outer loop, and continuing from one."""
