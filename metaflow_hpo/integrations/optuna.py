"""A sampler for Optuna that starts from past trials: `optuna.create_study(sampler=MetaSampler(past=...))`.

Optuna is define-by-run, so a whole configuration is chosen for each trial and handed out name by name; where the
objective asks for something else than was expected, it is chosen anew, given what the trial has so far.
"""

import json
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
from optuna import Study
from optuna import logging as optuna_logging
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from metaflow_hpo.adapters.past_trials.growing import check_growing
from metaflow_hpo.adapters.past_trials.spaces import with_parents
from metaflow_hpo.adapters.past_trials.values import plain
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.history import History
from metaflow_hpo.hyperparameter import Hyperparameter
from metaflow_hpo.integrations.chooser import Chooser, read_features, read_grown, read_past
from metaflow_hpo.integrations.distributions import fit_value, from_distribution, is_same, settle, with_conditions
from metaflow_hpo.integrations.doubt import ALONE, Trust, judge
from metaflow_hpo.integrations.learning import remember
from metaflow_hpo.integrations.studies import PLAN, all_trials, read_pending, read_told, with_end
from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.tables import META_PREFIX

TPE_FROM = 10
"""Trials from which every other one is TPE's: whatever the history is worth, the study's own trials have a say."""
MIN_EXPIRY_S = 3_600.0


class MetaSampler(BaseSampler):
    """Samples what did well on similar tasks first, then what this study's own trials suggest.

    Args:
        past: Trials of other tasks: a `History`, a frame, its file, an Optuna storage, or studies. Without any this is
            Optuna's multivariate TPE.
        task: Meta-features of this study's task by name, where the history has some.
        search_space: Distributions by name; told from the history and the study's trials unless given.
        assume: Values of parameters for past trials that lack them.
        seed: Seed of everything random.
        learn: Write what the study finds into the file that `past` names, a history in parquet, after each trial; it is
            made where there is none. Trials of the study itself that stand there already do not count as past ones.
        expire_after_s: Age at which a running trial is taken for dead; five times the longest finished one, and an
            hour at least, unless given.

    Raises:
        InvalidTableError: If the history has no trials that differ, or no such meta-feature.
    """

    def __init__(
        self,
        past: "History | Any" = None,
        *,
        task: Mapping[str, float] | None = None,
        search_space: Mapping[str, BaseDistribution] | None = None,
        assume: Mapping[str, Any] | None = None,
        seed: int | None = None,
        learn: bool = False,
        expire_after_s: float | None = None,
    ) -> None:
        self._grown = check_growing(past) if learn else None
        self._history = read_past(past) if self._grown is None else read_grown(self._grown)
        self._task, self._assume = task, assume
        self._known_task = task
        if self._history is not None:
            names = self._history.meta_feature_names
            if learn:  # what the history has not yet is known once this study is written there
                self._known_task = {n: v for n, v in (task or {}).items() if {n, META_PREFIX + n} & set(names)}
            read_features(names, self._known_task)
        self._given = dict(search_space or {})
        self._tpe = _make_tpe(seed)
        self._seed = int(np.random.default_rng(seed).integers(2**31))
        self._expire_after_s = expire_after_s
        self._plans: dict[tuple[str, int], Configuration] = {}
        self._alone: set[tuple[str, int]] = set()
        self._choosers: dict[str, Chooser] = {}
        self._lock = threading.RLock()
        if self._history is not None:
            self._chooser(None, [])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot travel to another process."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a lock of one's own."""
        vars(self).update(state, _lock=threading.RLock())

    def reseed_rng(self) -> None:
        """Leave proposals as they are: they depend on seed and number, so workers do not repeat each other."""
        self._tpe.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse what has several objectives, before the objective runs.

        Raises:
            MetaflowHPOError: If the study has several directions.
        """
        if len(study.directions) > 1:
            raise MetaflowHPOError(
                f"Expected a study of one objective; this one has {len(study.directions)}. Take another sampler, such "
                "as optuna.samplers.NSGAIISampler, or optimise one of them."
            )
        self._tpe.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Forget what was chosen, and write down what came of it."""
        self._plans.pop((study.study_name, trial.number), None)
        self._alone.discard((study.study_name, trial.number))
        self._tpe.after_trial(study, trial, state, values)
        if self._grown is not None:
            remember(self._grown, study, with_end(study, trial, state, values), self._task)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing, unless TPE is asked: relative values that do not fit raise inside the objective."""
        return self._tpe.infer_relative_search_space(study, trial) if self._history is None else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return TPE's values where there is no history."""
        return self._tpe.sample_relative(study, trial, search_space) if self._history is None else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value that was chosen for this trial, chosen anew where it does not fit."""
        if self._history is None:
            return self._tpe.sample_independent(study, trial, param_name, param_distribution)
        with self._lock:
            plan = self._plan(study, trial)
            fixed = {name: plain(value) for name, value in trial.params.items()}
            value = fit_value(param_distribution, plan, param_name)
            is_as_planned = all(name in plan and is_same(plan[name], v) for name, v in fixed.items())
            if value is None or not is_as_planned:
                return self._choose_anew(study, trial, plan, fixed, param_name, param_distribution)
            return value[0]

    def _plan(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        key = (study.study_name, trial.number)
        if key not in self._plans:
            chosen, is_alone = self._choose(study, trial)
            if is_alone or chosen is None:
                self._alone.add(key)
                study._storage.set_trial_system_attr(trial._trial_id, ALONE, True)
            if chosen is None:
                chosen = self._ask_tpe(study, trial)
            self._plans[key] = chosen
            study._storage.set_trial_system_attr(trial._trial_id, PLAN, json.dumps(dict(chosen)))
        return dict(self._plans[key])

    def _choose(self, study: Study, trial: FrozenTrial) -> tuple[Configuration | None, bool]:
        """Return what is proposed, None where TPE is to be asked, and whether the past had no say in it."""
        trials = [t for t in all_trials(study) if t.number != trial.number]
        told = read_told(trials, study.direction)
        chooser = self._chooser(study, trials)
        trust = judge(trials, study.direction, trial.number) if chooser.knows else Trust.TEST
        is_odd = trial.number % 2 == 1
        # TPE takes turns with the past from some trials on, and with a model of its own kind where the past is left.
        is_tpes = {Trust.TEST: True, Trust.NONE: not is_odd, Trust.PAST: is_odd and len(told) >= TPE_FROM}[trust]
        if is_tpes:
            return None, True
        alive = [t for t in trials if not t.state.is_finished() and not self._is_dead(t, trials)]
        pending = [found for t in alive if (found := read_pending(t))]
        early = sum(t.number < trial.number and not read_pending(t) for t in alive if t.state == TrialState.RUNNING)
        shown = self._shown(trials)
        is_alone = trust == Trust.NONE
        choose = chooser.choose_alone if is_alone else chooser.choose
        return choose(told, pending, skip=early, asked=shown, settle=lambda planned: settle(shown, planned)), is_alone

    def _ask_tpe(self, study: Study, trial: FrozenTrial) -> Configuration:
        tpe = self._make_tpe(trial)
        asked = tpe.sample_relative(study, trial, tpe.infer_relative_search_space(study, trial))
        return {name: plain(value) for name, value in asked.items()}

    def _make_tpe(self, trial: FrozenTrial, name: str = "") -> TPESampler:
        """Make a sampler that depends on seed and number alone, so that a resumed study does not repeat itself."""
        seed = int(np.random.default_rng([self._seed, trial.number, zlib.crc32(name.encode())]).integers(2**31))
        return _make_tpe(seed, constant_liar=True)

    def _choose_anew(
        self,
        study: Study,
        trial: FrozenTrial,
        plan: Mapping[str, Any],
        fixed: Mapping[str, Any],
        name: str,
        distribution: BaseDistribution,
    ) -> Any:
        trials = [t for t in all_trials(study) if t.number != trial.number]
        chooser = self._chooser(study, trials)
        is_alone = (study.study_name, trial.number) in self._alone
        if not is_alone and chooser.knows and chooser.has(name):
            hp = from_distribution(name, distribution)
            anew = chooser.choose_given(read_told(trials, study.direction), fixed, hp, number=trial.number)
            value = fit_value(distribution, anew, name)
            if value is not None:
                self._plans[study.study_name, trial.number] = {**plan, **anew, name: plain(value[0])}
                return value[0]
        value = self._make_tpe(trial, name).sample_independent(study, trial, name, distribution)
        self._plans[study.study_name, trial.number] = {**plan, **fixed, name: plain(value)}
        return value

    def _shown(self, trials: Sequence[FrozenTrial]) -> dict[str, BaseDistribution]:
        """Return the distributions that the study is known to ask for."""
        shown: dict[str, BaseDistribution] = dict(self._given)
        for trial in trials:
            shown |= trial.distributions
        return shown

    def _known_space(self, history: History, trials: Sequence[FrozenTrial]) -> SearchSpace:
        shown = self._shown(trials)
        finished = [t for t in trials if t.state == TrialState.COMPLETE]
        found: dict[str, Hyperparameter] = {}
        for name, distribution in shown.items():
            if not distribution.single():
                found[name] = from_distribution(
                    name, distribution, optional=any(name not in t.params for t in finished)
                )
        found = with_conditions(found, [t.params for t in finished])
        if self._given and found:
            return SearchSpace(tuple(found.values()))
        for hp in history.space.hyperparameters:
            # What a finished trial did not ask for is not part of this study, or of a branch that it did not take.
            if hp.name not in shown and (not finished or hp.condition is not None or hp.optional):
                found[hp.name] = hp
        return SearchSpace(with_parents(found))

    def _chooser(self, study: Study | None, trials: Sequence[FrozenTrial]) -> Chooser:
        """Return who chooses in the space as the study's trials, and before them the history, show it."""
        if self._history is None:
            raise MetaflowHPOError("Expected past trials; this sampler has none.")
        others = [t for t, name in enumerate(self._history.task_ids) if study is None or name != study.study_name]
        is_resumed = self._grown is not None and len(others) < len(self._history.tasks)
        history = self._history.subset(others) if is_resumed else self._history
        space = self._known_space(history, trials)
        key = json.dumps([study.study_name if study and is_resumed else "", space.to_json()], sort_keys=True)
        if key not in self._choosers:
            self._choosers[key] = Chooser(history, space, task=self._known_task, assume=self._assume, seed=self._seed)
        return self._choosers[key]

    def _is_dead(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """Tell whether a running trial is too old to be alive."""
        if trial.datetime_start is None:
            return False
        longest = max((t.duration.total_seconds() for t in trials if t.duration is not None), default=0.0)
        limit = max(5.0 * longest, MIN_EXPIRY_S) if self._expire_after_s is None else self._expire_after_s
        return (datetime.now() - trial.datetime_start).total_seconds() > limit


def _make_tpe(seed: int | None, *, constant_liar: bool = False) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ExperimentalWarning)
        return TPESampler(multivariate=True, group=True, constant_liar=constant_liar, seed=seed)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence "A new study created" in studies that a person did not make."""
    before = optuna_logging.get_verbosity()
    optuna_logging.set_verbosity(optuna_logging.WARNING)
    try:
        yield
    finally:
        optuna_logging.set_verbosity(before)
