"""The pattern that some tasks teach, its classes of equal weights, and the permutations that keep them."""
