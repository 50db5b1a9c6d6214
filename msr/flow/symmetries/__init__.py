"""The symmetries of a flow: permutations of tokens, matrices of features, and what tables of pairs can show."""
