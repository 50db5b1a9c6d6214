"""From what a caller gives to centred tasks in comparable units, which every later step of a discovery takes."""
