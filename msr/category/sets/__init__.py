"""Functors into sets: presheaves, the maps between them, which are representable, and how many there are."""
