"""The learners by name: what `--learner` takes.

The one thing to know: libsvm cannot be interrupted, so an SVM with a time limit is always trained in processes.
"""

from dataclasses import replace
from typing import Literal

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.isolation import IsolatedLearner
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.learners.limits import NO_LIMITS, Limits
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.svm import SVM

LEARNERS = ("mlp", "svm")

Isolation = Literal["thread", "process"]


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
    learner: MLP | SVM
    match name:
        case "mlp":
            learner = MLP(workers=workers, limits=limits)
        case "svm":
            learner = SVM(workers=workers, limits=limits)
        case _:
            raise SearchSpaceMismatchError(f"Unknown learner {name!r}; the learners are {', '.join(LEARNERS)}.")
    if isolation == "process" or (name == "svm" and limits.seconds is not None):
        return IsolatedLearner(replace(learner, workers=1), workers=workers, limits=limits)
    return learner
