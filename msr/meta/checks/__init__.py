"""What an inner loop takes for granted of a network, tried on the first batch that a learner gets."""
