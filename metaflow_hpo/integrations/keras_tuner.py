"""An oracle for Keras Tuner that starts from past trials: `Tuner(oracle=MetaOracle(objective, past=...), ...)`."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from metaflow_hpo.errors import MetaflowHPOError, MissingExtraError
from metaflow_hpo.integrations.optuna import MetaSampler, quiet

try:
    import keras_tuner
    from keras_tuner.engine.trial import Trial, TrialStatus
except ImportError as missing:
    raise MissingExtraError("keras-tuner", "keras-tuner") from missing

MAX_ATTEMPTS = 20
"""Proposals that were tried already after which a space is taken to be used up."""


class MetaOracle(keras_tuner.Oracle):  # type: ignore[misc]
    """Proposes what did well on similar tasks first, then what this search's own trials say.

    Args:
        objective: As of `keras_tuner.Oracle`: a name such as `val_accuracy`, or a `keras_tuner.Objective`.
        past: Past trials, see `MetaSampler`.
        task: Meta-features of the task by name, where the history has some.
        assume: Values of hyperparameters for past trials that lack them.
        max_trials: How many.
        seed: Seed of everything random.
        learn: Write what is found into the file that `past` names, see `MetaSampler`.
        task_id: What this task is called there.
        options: Other arguments of `keras_tuner.Oracle`.

    Raises:
        MetaflowHPOError: If results are to be learned from and the task has no name.
    """

    def __init__(
        self,
        objective: Any = None,
        *,
        past: Any = None,
        task: Mapping[str, float] | None = None,
        assume: Mapping[str, Any] | None = None,
        max_trials: int = 10,
        seed: int | None = None,
        learn: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> None:
        if learn and task_id is None:
            raise MetaflowHPOError("Expected task_id, the name of this task in the history, with learn=True.")
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **options)
        self._sampler = MetaSampler(past, task=task, assume=assume, seed=seed, learn=learn)
        self._task_id = task_id
        self._known_study: optuna.Study | None = None
        self._asked: dict[str, optuna.Trial] = {}
        self._told: set[str] = set()
        self._former: keras_tuner.HyperParameters | None = None

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with a project; its space is declared anew by the next trial's model, which may have more choices."""
        super().set_state(state)
        self._former = self.get_space()
        self.hyperparameters = keras_tuner.HyperParameters()

    def get_state(self) -> dict[str, Any]:
        """Return what is saved; the space of before, until it is declared anew."""
        return {**super().get_state(), "hyperparameters": self._space.get_config()}

    @property
    def _space(self) -> keras_tuner.HyperParameters:
        is_declared = self._former is None or bool(self.hyperparameters.space)
        return self.hyperparameters if is_declared else self._former

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Take up hyperparameters; the study of a project that is gone on with is told again in its new space."""
        is_new = self._former is not None and not self.hyperparameters.space
        super().update_space(hyperparameters)
        if is_new and self.hyperparameters.space:
            self._known_study, self._asked, self._told = None, {}, set()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of a trial; an inactive hyperparameter has none."""
        self._hear()
        for _ in range(MAX_ATTEMPTS):
            trial = self._study.ask()
            values = self._choose(trial)
            if self._compute_values_hash(values) not in self._tried_so_far:
                self._asked[trial_id] = trial
                return {"status": TrialStatus.RUNNING, "values": values}
            # The study goes on taking it for one that is being tried: it is not proposed again, and has no outcome.
        return {"status": TrialStatus.STOPPED, "values": None}

    @keras_tuner.synchronized  # type: ignore[untyped-decorator]
    def end_trial(self, trial: Trial) -> None:
        """Hear the end of a trial."""
        super().end_trial(trial)
        self._hear()

    @property
    def _study(self) -> optuna.Study:
        if self._known_study is None:
            direction = StudyDirection.MAXIMIZE if self.objective.direction == "max" else StudyDirection.MINIMIZE
            with quiet():
                self._known_study = optuna.create_study(
                    study_name=self._task_id, direction=direction, sampler=self._sampler
                )
        return self._known_study

    def _choose(self, trial: optuna.Trial) -> dict[str, Any]:
        chosen = keras_tuner.HyperParameters()
        for hp in self._space.space:
            chosen.merge([hp])
            if not chosen.is_active(hp):
                continue
            distribution = to_distribution(hp)
            value = hp.default if distribution is None else _suggest(trial, hp.name, distribution)
            chosen.values[hp.name] = _on_grid(hp, value)
        return dict(chosen.values)

    def _hear(self) -> None:
        """Tell the study what has ended, also in an earlier run whose project is gone on with."""
        for trial_id in self.end_order:
            if trial_id in self._told:
                continue
            self._told.add(trial_id)
            trial = self.trials[trial_id]
            is_ok = trial.status == TrialStatus.COMPLETED and trial.score is not None
            asked = self._asked.pop(trial_id, None)
            state, value = (TrialState.COMPLETE, float(trial.score)) if is_ok else (TrialState.FAIL, None)
            values = trial.hyperparameters.values
            today = {hp.name: to_distribution(hp) for hp in self._space.space}
            spaces = {hp.name: today.get(hp.name, to_distribution(hp)) for hp in self._active(trial)}
            # A study has one set of choices a name: a value that is none of today's is left out.
            known = {name: space for name, space in spaces.items() if space is not None and _has(space, values[name])}
            values = {name: values[name] for name in known}
            if asked is None:
                self._study.add_trial(create_trial(state=state, value=value, params=values, distributions=known))
                continue
            for name in known.keys() - asked.params.keys():  # first asked for while the model was built
                internal = known[name].to_internal_repr(values[name])
                self._study._storage.set_trial_param(asked._trial_id, name, internal, known[name])
            self._study.tell(asked, value, state=state)

    def _active(self, trial: Trial) -> list[Any]:
        """Return the hyperparameters that a trial used: values stand there of others as well."""
        values = trial.hyperparameters.values
        return [
            hp
            for hp in trial.hyperparameters.space
            if hp.name in values and all(condition.is_active(values) for condition in hp.conditions)
        ]


def _has(space: BaseDistribution, value: Any) -> bool:
    """Tell whether a distribution has a value."""
    if isinstance(space, CategoricalDistribution):
        return value in space.choices
    return bool(space._contains(space.to_internal_repr(value)))


def to_distribution(hp: Any) -> BaseDistribution | None:
    """Return the distribution of one of Keras Tuner's hyperparameters; None of a fixed one."""
    fields, kind = hp.get_config(), type(hp).__name__
    if kind in ("Choice", "Boolean"):
        return CategoricalDistribution(fields["values"] if kind == "Choice" else [False, True])
    if kind not in ("Int", "Float"):
        return None
    low, high, step = fields["min_value"], fields["max_value"], fields.get("step")
    if fields.get("sampling") == "log":
        return IntDistribution(low, high, log=True) if kind == "Int" else FloatDistribution(low, high, log=True)
    if kind == "Int":
        return IntDistribution(low, low + (high - low) // (step or 1) * (step or 1), step=step or 1)
    return FloatDistribution(low, high) if step is None else FloatDistribution(low, _last(low, high, step), step=step)


def _last(low: float, high: float, step: float) -> float:
    """Return the last point of a grid, exact as written down."""
    first, width = Decimal(str(low)), Decimal(str(step))
    return float(first + (Decimal(str(high)) - first) // width * width)


def _suggest(trial: optuna.Trial, name: str, space: BaseDistribution) -> Any:
    if isinstance(space, FloatDistribution):
        return trial.suggest_float(name, space.low, space.high, step=space.step, log=space.log)
    if isinstance(space, IntDistribution):
        return trial.suggest_int(name, space.low, space.high, step=space.step, log=space.log)
    return trial.suggest_categorical(name, space.choices) if isinstance(space, CategoricalDistribution) else None


def _on_grid(hp: Any, value: Any) -> Any:
    """Return a value as Keras Tuner has it: a logarithmic scale may have steps, by which it multiplies."""
    fields = hp.get_config()
    low, step = fields.get("min_value"), fields.get("step")
    if fields.get("sampling") != "log" or step is None:
        return value
    power = round(math.log(value / low) / math.log(step))
    steps = min(power, math.floor(math.log(fields["max_value"] / low) / math.log(step) + 1e-9))
    return type(low)(low * step**steps)
