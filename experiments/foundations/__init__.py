"""The studies of the runner on the power of foundation models: each a question that finite categories answer."""
