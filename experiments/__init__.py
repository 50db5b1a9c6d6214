"""Runners: one file for each published claim, each with a config, a run and its figures."""
