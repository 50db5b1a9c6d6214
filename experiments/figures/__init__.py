"""Figures of the runners."""
