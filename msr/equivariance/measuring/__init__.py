"""How far a function is from commuting with a group: numbers without an opinion."""
