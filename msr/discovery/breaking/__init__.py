"""How much of the tasks' own weights, and of their biases, breaks a group: unbiased estimates, task by task."""
