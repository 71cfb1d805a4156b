"""A search algorithm for Ray Tune that starts from past trials: `TuneConfig(search_alg=MetaSearcher(past=...))`."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from optuna.trial import TrialState, create_trial

from metaflow_hpo.adapters.past_trials.ray import RaySource
from metaflow_hpo.adapters.past_trials.source import Wanted
from metaflow_hpo.adapters.past_trials.values import flatten
from metaflow_hpo.errors import MetaflowHPOError, MissingExtraError, listed
from metaflow_hpo.integrations.optuna import MetaSampler, quiet

try:
    from ray.tune.result import TRAINING_ITERATION
    from ray.tune.search.optuna import OptunaSearch
except ImportError as missing:
    raise MissingExtraError("ray", "ray") from missing

logger = logging.getLogger("metaflow_hpo")

_STATES = {"ok": TrialState.COMPLETE, "failed": TrialState.FAIL, "stopped": TrialState.PRUNED}


class MetaSearcher(OptunaSearch):  # type: ignore[misc]
    """Suggests what did well on similar tasks first, then what this experiment's own trials say.

    A trial that a scheduler ends early counts as stopped; one whose metric is NaN or missing, as failed.

    Args:
        space: As of `OptunaSearch`: distributions or domains by name, or a function that asks a trial; Tune's own
            `param_space` unless given. Nested names are joined with a slash.
        past: Past trials, see `MetaSampler`.
        task: Meta-features of the task by name, where the history has some.
        assume: Values of hyperparameters for past trials that lack them.
        metric: What is reported; Tune's own unless given.
        mode: `max` or `min`.
        points_to_evaluate: Configurations to try first.
        evaluated_rewards: Their results, where they are known.
        known: Folder of an earlier run of this experiment; its trials are gone on from, not tried again.
        seed: Seed of everything random.
        learn: Write what is found into the file that `past` names, see `MetaSampler`.
        task_id: What this task is called there.

    Raises:
        MetaflowHPOError: If results are to be learned from and the task has no name.
    """

    def __init__(
        self,
        space: Mapping[str, Any] | Callable[..., Any] | None = None,
        *,
        past: Any = None,
        task: Mapping[str, float] | None = None,
        assume: Mapping[str, Any] | None = None,
        metric: str | None = None,
        mode: Literal["max", "min"] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        known: str | Path | None = None,
        seed: int | None = None,
        learn: bool = False,
        task_id: str | None = None,
    ) -> None:
        if learn and task_id is None:
            raise MetaflowHPOError("Expected task_id, the name of this task in the history, with learn=True.")
        self._earlier = known
        self._longest = 0
        points = None if points_to_evaluate is None else [flatten(point) for point in points_to_evaluate]
        super().__init__(
            space,
            metric=metric,
            mode=mode,
            points_to_evaluate=points,
            evaluated_rewards=None if evaluated_rewards is None else list(evaluated_rewards),
            sampler=MetaSampler(past, task=task, assume=assume, seed=seed, learn=learn),
            study_name=task_id,
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep what is reported on the way, where it is a number."""
        self._longest = max(self._longest, int(result.get(TRAINING_ITERATION, 0)))
        if _is_number(result.get(self.metric)):
            super().on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hear the end of a trial."""
        if result and self.metric not in result:
            logger.warning(
                "A trial counts as failed: it reported no %s, but %s.", self.metric, listed(sorted(map(str, result)))
            )
        if not result or not _is_number(result.get(self.metric)):
            super().on_trial_complete(trial_id, None, error=True)
        elif error or int(result.get(TRAINING_ITERATION, self._longest)) < self._longest:
            # Optuna takes the last report of a trial that did not reach its end.
            super().on_trial_complete(trial_id, None, error=error)
        else:
            super().on_trial_complete(trial_id, result)

    def _setup_study(self, mode: str) -> None:
        with quiet():
            super()._setup_study(mode)
        if self._earlier is not None:
            self._add_earlier(self._earlier)

    def _add_earlier(self, folder: str | Path) -> None:
        """Add the trials of an earlier run, as far as they lie in today's space."""
        if callable(self._space):
            raise MetaflowHPOError("known= needs a space of distributions or domains; a function does not say its own.")
        found = RaySource().read(folder, Wanted(metric=self.metric, mode=self.mode))
        for trial in found.trials:
            values = {name: value for name, value in trial.configuration.items() if name in self._space}
            spaces = {name: self._space[name] for name in values}
            if not all(space._contains(space.to_internal_repr(values[name])) for name, space in spaces.items()):
                continue
            is_valued = trial.status != "failed" and _is_number(trial.value)
            state = _STATES[trial.status] if is_valued or trial.status == "stopped" else TrialState.FAIL
            self._ot_study.add_trial(
                create_trial(state=state, value=trial.value if is_valued else None, params=values, distributions=spaces)
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
