"""The answer of a discovery: its values with their units, the sentences that users read, and how both come together."""
