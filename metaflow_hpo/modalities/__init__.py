"""What the inputs of a task can be."""
