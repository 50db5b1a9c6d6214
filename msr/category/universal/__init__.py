"""Kan extensions, full embeddings, limits, and with them what prompting and fine tuning can solve."""
