"""A verdict on equivariance with a stated null hypothesis and error rate."""
