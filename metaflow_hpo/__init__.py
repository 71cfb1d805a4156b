"""Learns from past hyperparameter searches which configurations to try first on a new task.

`import metaflow_hpo as hpo` is the Python interface; a name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metaflow_hpo.version import __version__

_HOME = {
    "Categorical": "hyperparameter",
    "Condition": "hyperparameter",
    "Fidelity": "learners.learner",
    "Float": "hyperparameter",
    "History": "history",
    "Integer": "hyperparameter",
    "MetaflowHPOError": "errors",
    "Metric": "metric",
    "Recommendations": "api",
    "Recommender": "api",
    "SearchResult": "api",
    "SearchSpace": "space",
    "Stop": "learners.function",
    "benchmark": "api",
    "fit": "api",
    "import_trials": "api",
    "learner_from_command": "learners.command",
    "learner_from_function": "learners.function",
    "recommend": "api",
    "search": "api",
}
"""Where each public name is defined."""

__all__ = [
    "Categorical",
    "Condition",
    "Fidelity",
    "Float",
    "History",
    "Integer",
    "MetaflowHPOError",
    "Metric",
    "Recommendations",
    "Recommender",
    "SearchResult",
    "SearchSpace",
    "Stop",
    "__version__",
    "benchmark",
    "fit",
    "import_trials",
    "learner_from_command",
    "learner_from_function",
    "recommend",
    "search",
]

if TYPE_CHECKING:
    from metaflow_hpo.api import (
        Recommendations,
        Recommender,
        SearchResult,
        benchmark,
        fit,
        import_trials,
        recommend,
        search,
    )
    from metaflow_hpo.errors import MetaflowHPOError
    from metaflow_hpo.history import History
    from metaflow_hpo.hyperparameter import Categorical, Condition, Float, Integer
    from metaflow_hpo.learners.command import learner_from_command
    from metaflow_hpo.learners.function import Stop, learner_from_function
    from metaflow_hpo.learners.learner import Fidelity
    from metaflow_hpo.metric import Metric
    from metaflow_hpo.space import SearchSpace


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
