"""One question a file; each prints a table and writes ``benchmarks/results/NAME.json``. Nothing is judged here."""
