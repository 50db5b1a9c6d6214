"""Naturality: how far the squares of a transformation are from commuting, of windows and partial maps too."""
