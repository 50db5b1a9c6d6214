"""A network layer by layer: each one measured, or certified, on the activations that it really receives."""
