"""Where models that were registered earlier, whose code lies beside them, find what they import."""

from metaflow_hpo.learners.trained_rows import TrainedNetwork

__all__ = ["TrainedNetwork"]
