"""From what a caller gives to tasks that every later step can take."""
