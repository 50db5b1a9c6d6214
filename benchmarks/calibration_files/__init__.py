"""Files of tasks whose right answer is known, and how an answer is held against it; see ``benchmarks.calibration``."""
