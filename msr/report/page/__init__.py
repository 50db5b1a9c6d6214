"""A discovery as one web page."""
