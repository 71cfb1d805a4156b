"""The learners by name: what `--learner` takes."""

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.learners.mlp import MLP
from metaflow_hpo.learners.svm import SVM

LEARNERS = ("mlp", "svm")


def get_learner(name: str) -> Learner:
    """Return a learner with its default settings.

    Raises:
        SearchSpaceMismatchError: If there is no learner of this name.
    """
    match name:
        case "mlp":
            return MLP()
        case "svm":
            return SVM()
        case _:
            raise SearchSpaceMismatchError(f"Unknown learner {name!r}; the learners are {', '.join(LEARNERS)}.")
