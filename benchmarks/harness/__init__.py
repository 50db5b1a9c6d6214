"""What the benchmarks share: a command line, clocks, counters, and rivals to run beside."""
