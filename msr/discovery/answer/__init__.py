"""The answer of a discovery: its values, each with its unit, and the sentences that users read."""
