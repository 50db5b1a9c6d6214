"""What several runners need and the package does not hold: they are no runners, so they stand in a folder."""
