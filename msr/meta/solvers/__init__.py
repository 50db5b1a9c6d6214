"""Inner solvers: how one task fits its own parameters on its support set."""
