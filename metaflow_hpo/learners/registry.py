"""The learners by name or address: what `--learner` takes."""

import inspect
import re
from typing import Any

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.learner import Fidelity, Isolation, Learner, Limited
from metaflow_hpo.learners.limits import NO_LIMITS, Limits
from metaflow_hpo.plugins import Registry
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.task import AUDIO, IMAGE, SERIES, TABLE, TEXT

LEARNERS = Registry(
    "learner",
    "metaflow_hpo.learners",
    {
        "mlp": "metaflow_hpo.learners.mlp.learner:MLP",
        "realmlp": "metaflow_hpo.learners.realmlp.learner:RealMLP",
        "svm": "metaflow_hpo.learners.svm:SVM",
        "cnn": "metaflow_hpo.learners.cnn:CNN",
        "text": "metaflow_hpo.learners.text.learner:TextLearner",
        "audio_cnn": "metaflow_hpo.learners.audio_cnn:AudioCNN",
        "series": "metaflow_hpo.learners.series.learner:SeriesLearner",
    },
)

MODALITY_OF = {
    "mlp": TABLE,
    "realmlp": TABLE,
    "svm": TABLE,
    "cnn": IMAGE,
    "audio_cnn": AUDIO,
    "text": TEXT,
    "series": SERIES,
}
"""What a built-in learner trains on, so that it need not be imported to tell."""

DEFAULT_LEARNERS = {TABLE: "realmlp", IMAGE: "cnn", AUDIO: "audio_cnn", TEXT: "text", SERIES: "series"}
"""The learner of a modality where nobody chose one that trains on it."""

LEARNER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
"""Learners name files and registered models."""


def get_learner(
    name: str, limits: Limits = NO_LIMITS, isolation: Isolation = "thread", workers: int | None = None
) -> Learner:
    """Return a learner with its default settings.

    Args:
        name: A name of `LEARNERS`, or `module:attribute`: a learner, or a class or function that makes one.
        limits: What one trial may cost.
        isolation: `thread`, the fast path, or `process`: a training that crashes its process costs one trial.
        workers: Trainings at once; None for what suits this machine.

    Raises:
        MetaflowHPOError: If there is no such learner, or it cannot be imported.
        SearchSpaceMismatchError: If what is there is no learner, or one that cannot be limited is to be.
    """
    learner = check_learner(_make(name, LEARNERS.load(name)), name)
    if name not in LEARNERS.built_in and learner.name in LEARNERS.built_in:
        raise SearchSpaceMismatchError(
            f"The learner at {name!r} calls itself {learner.name!r}, as a built-in one does. Give it another name."
        )
    return limit_learner(learner, limits, isolation, workers)


def limit_learner(learner: Learner, limits: Limits, isolation: Isolation, workers: int | None) -> Learner:
    """Return a learner within limits, see `Limited.within`.

    Raises:
        SearchSpaceMismatchError: If it keeps to none, and there are some.
    """
    if isinstance(learner, Limited):
        return learner.within(limits, isolation=isolation, workers=workers)
    if limits != NO_LIMITS or isolation == "process":
        raise SearchSpaceMismatchError(
            f"The learner {learner.name!r} has no method `within` and keeps to no limits. Unset trial_seconds, "
            "trial_memory_mb and isolation, or make it with learner_from_function or learner_from_command."
        )
    return learner


def check_learner(learner: Any, name: str) -> Learner:
    """Return a learner that has all that one needs.

    Args:
        learner: What is to be one.
        name: Where it was found, for messages.

    Raises:
        SearchSpaceMismatchError: If it is none; the message says what is missing.
    """
    missing = [part for part in ("name", "modalities", "space", "fidelity", "train") if not hasattr(learner, part)]
    if missing:
        raise SearchSpaceMismatchError(
            f"Expected a learner at {name!r}; found {_describe(learner)} without {', '.join(missing)}. Give an object "
            "with name, modalities, space, fidelity and train(data, configurations, *, fidelity, seed, judge, refit), "
            "or make one with learner_from_function."
        )
    for part, kind in (("space", SearchSpace), ("fidelity", Fidelity)):
        if not isinstance(getattr(learner, part), kind):
            raise SearchSpaceMismatchError(
                f"Expected {part} of the learner at {name!r} as a {kind.__name__}; got {getattr(learner, part)!r}."
            )
    if not isinstance(learner.name, str) or not LEARNER_NAME.fullmatch(learner.name):
        raise SearchSpaceMismatchError(
            f"The name of a learner must match {LEARNER_NAME.pattern}; got {learner.name!r} at {name!r}."
        )
    checked: Learner = learner
    return checked


def _make(name: str, found: Any) -> Any:
    """Return what a class or a function without required parameters makes, or the object itself."""
    if isinstance(found, type) or inspect.isroutine(found):
        needed = [p.name for p in inspect.signature(found).parameters.values() if _is_required(p)]
        if needed:
            raise SearchSpaceMismatchError(
                f"Expected a learner at {name!r}; found {_describe(found)} that needs {', '.join(needed)}. "
                "If it trains a configuration, write: learner = learner_from_function(train, space)."
            )
        return found()
    return found


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variadic


def _describe(found: Any) -> str:
    if isinstance(found, type):
        return f"the class {found.__name__}"
    return f"the function {found.__name__}" if inspect.isroutine(found) else f"a {type(found).__name__}"
