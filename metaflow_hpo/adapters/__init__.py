"""Edge: the files of `data/`, task sources, MLflow tracking and registry, DVC.

The one thing to know: nothing to the left of this folder does I/O, and nothing here decides anything about learning.
"""
