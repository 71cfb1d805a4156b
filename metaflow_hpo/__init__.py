"""Learn from past hyperparameter searches which configurations to try first on a new task."""

__version__ = "0.1.0"
