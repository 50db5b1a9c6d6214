"""Saved layers and networks: which kinds of files hold one, and how each is read without trusting it."""
