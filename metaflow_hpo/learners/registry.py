"""The learners by name: what `--learner` takes."""

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.learner import Isolation, Learner
from metaflow_hpo.learners.limits import NO_LIMITS, Limits
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.svm import SVM

LEARNERS = ("mlp", "svm")


def get_learner(
    name: str, limits: Limits = NO_LIMITS, isolation: Isolation = "thread", workers: int | None = None
) -> Learner:
    """Return a learner with its default settings.

    Args:
        name: One of `LEARNERS`.
        limits: What one trial may cost.
        isolation: `thread`, the fast path, or `process`: a training that crashes its process costs one trial.
        workers: Threads or processes that train; None for one a processor.

    Raises:
        SearchSpaceMismatchError: If there is no learner of this name.
    """
    match name:
        case "mlp":
            return MLP().within(limits, isolation=isolation, workers=workers)
        case "svm":
            return SVM().within(limits, isolation=isolation, workers=workers)
        case _:
            raise SearchSpaceMismatchError(f"Unknown learner {name!r}; the learners are {', '.join(LEARNERS)}.")
