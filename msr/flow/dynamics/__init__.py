"""The flow itself: what a block gives, how tokens move by it, steps in time, and what is conserved."""
