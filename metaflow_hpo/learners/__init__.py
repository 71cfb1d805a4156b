"""What is tuned: one file per model family, with its search space and a way to train MANY configurations at once."""
