"""Saved layers and networks: which kinds of files hold one, which of them may run code, and how each is read."""
