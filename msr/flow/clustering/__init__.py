"""Clusters of tokens: counted, over time, and over temperatures."""
