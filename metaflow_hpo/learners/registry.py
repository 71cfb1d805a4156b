"""The learners by name: what `--learner` takes."""

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.learners.mlp import MLP
from metaflow_hpo.learners.svm import SVM

LEARNERS = ("mlp", "svm")


def get_learner(name: str, workers: int | None = None) -> Learner:
    """Return a learner with its default settings.

    Args:
        name: One of `LEARNERS`.
        workers: Threads that train; None for one a processor.

    Raises:
        SearchSpaceMismatchError: If there is no learner of this name.
    """
    match name:
        case "mlp":
            return MLP(workers=workers)
        case "svm":
            return SVM(workers=workers)
        case _:
            raise SearchSpaceMismatchError(f"Unknown learner {name!r}; the learners are {', '.join(LEARNERS)}.")
