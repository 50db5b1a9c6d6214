"""The studies of the runner on attention as a flow: a figure of the theory each, computed and beside what is exact."""
