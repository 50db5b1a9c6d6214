"""Recordings of functions of tensors, rewritten into fewer and cheaper operations."""
