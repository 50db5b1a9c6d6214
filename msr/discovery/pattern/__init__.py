"""What some tasks teach: the pattern, its classes of equal weights, and the groups of permutations that keep them."""
