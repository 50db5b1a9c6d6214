"""Runs of experiments: flags, a folder that one process holds, training that can be stopped and continued."""
