"""The learner of series."""
