"""Small files on which a decision constant is seen to matter, with what is true of them; see ``benchmarks.thresholds``.

Most decision constants are read on every file, and change a number only on few: a constant that tells two units apart
needs a file with two units. Each function here makes one such file, always the same.
"""
