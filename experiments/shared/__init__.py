"""What several runners need and the package does not hold."""
