"""Finite categories as tables of whole numbers, how to make them, and functors between them."""
