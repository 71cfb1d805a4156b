"""One search: a strategy proposes, the learner trains, trials come back.

The one thing to know: a search is resumed by running it again with the trials it has already made as `known`. They are
told instead of trained, and the result equals that of a search that was never interrupted (durations apart). Every
training counts as a trial: with `halving` one configuration makes several, at several fidelities.
Strategies hear of cross-validated performance only, so whoever searches for the best can leave all refits but its out.
"""

import math
import re
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

from metaflow_hpo.collect.strategies.registry import make_strategy
from metaflow_hpo.collect.strategies.strategy import Strategy, StrategyContext
from metaflow_hpo.collect.trials import refit_trial, train_trials
from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.learner import ERROR, Judge, Learner, Refitting, anchors_of, ending
from metaflow_hpo.space import Configuration, configuration_id
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

_TIMED_BATCH = 16
_ALIKE = 3
_SAME_LENGTH = 60

Refit = Literal["all", "best"]
"""Which trials are trained on all training rows as well, and scored on the test rows."""

Stopping = Callable[[Sequence[Trial]], Judge | None]
"""Given the trials so far, returns what stops the next ones for their learning curves; None to let them be."""


def search(
    data: TaskData,
    learner: Learner,
    *,
    strategy: str,
    trials: int,
    seconds: float | None = None,
    seed: int = 0,
    fidelity: int | None = None,
    known: Sequence[Trial] = (),
    on_trial: Callable[[Trial], None] | None = None,
    proposer: Strategy | None = None,
    refit: Refit = "all",
    stopping: Stopping | None = None,
) -> list[Trial]:
    """Search the space of a learner on a task.

    Args:
        data: The task.
        learner: What is tuned.
        strategy: Name of the strategy, see `STRATEGY_NAMES`, or any name of `proposer`.
        trials: Number of trials, at least 1: those of every rung with `halving`, which plans its brackets for this
            number, and configurations to try with the others. Trials known beforehand count.
        seconds: Time limit. The first trial to end after it is kept, those behind are given up; None for no limit.
            `halving` goes from short trainings to long ones, so even then there is a best of a rung.
        seed: Seed of the strategy and of the trainings.
        fidelity: Effort of each training, with `halving` that of the highest rung; None for the full fidelity of the
            learner.
        known: Trials of any task and learner that need not be trained again. A trial of another strategy with the same
            configuration, seed and fidelity is copied under this strategy's name.
        on_trial: Called with each trial this search adds to `known`, as soon as it is finished.
        proposer: A fresh strategy that `make_strategy` does not know, since what it knows comes from other tasks.
        refit: `all` trials have a test performance, or the `best` of them, which is refitted when the search is over
            and not reported to `on_trial` again. That saves a share of `1 / (folds + 1)` of the trainings, and more of
            the time, as the refit has the most rows.
        stopping: Stops trials that will not become the best, where the learner can; with `refit="best"` only.

    Returns:
        The trials in the order in which the strategy proposed them, at most `trials`; fewer where time is up (one
        at least) or the space holds no more configurations.

    Raises:
        SearchSpaceMismatchError: If `trials` is below 1, the time limit not above 0, there is no such strategy, the
            fidelity is out of range, or the learner has too few epochs for `halving`.
        MetaflowHPOError: If the first trainings of a person's own code fail alike; they are not kept.
    """
    effort = _check_search(learner, trials, seconds, fidelity)
    deadline = None if seconds is None else time.monotonic() + seconds
    if proposer is None:
        context = StrategyContext(learner.space, seed=seed, budget=trials, fidelity=effort, anchors=anchors_of(learner))
        proposer = make_strategy(strategy, context)
    source = _TrialSource(data, learner, strategy, seed, deadline, on_trial or _ignore, refit, stopping)
    source.remember(known)
    finished: list[Trial] = []
    while len(finished) < trials:
        # Learners train the most expensive of a batch first: with small batches the strategy's first still come first.
        batch_size = proposer.batch_size if deadline is None else min(proposer.batch_size, _TIMED_BATCH)
        batch_effort = proposer.fidelity or effort
        configurations = proposer.ask(min(trials - len(finished), batch_size))
        batch = source.get(configurations, batch_effort, finished)
        finished += batch
        if not configurations or len(batch) < len(configurations):
            break
        proposer.tell(batch)
    source.report_waiting()
    return source.refit_best(finished) if refit == "best" else finished


def _check_search(learner: Learner, trials: int, seconds: float | None, fidelity: int | None) -> int:
    """Check what was asked for and return the highest fidelity."""
    if trials < 1:
        raise SearchSpaceMismatchError(f"A search needs at least 1 trial; got trials={trials}.")
    if seconds is not None and not seconds > 0:
        raise SearchSpaceMismatchError(f"The time limit of a search must be above 0 seconds; got {seconds}.")
    return learner.fidelity.check(learner.fidelity.maximum if fidelity is None else fidelity)


def find_best(trials: Iterable[Trial]) -> Trial | None:
    """Return the best trial among those of the most epochs; None where every trial failed.

    A trial of fewer epochs is another training, not an earlier moment of the longer one: it is never the best while a
    longer one is ok, however well it did. The first of equals wins.
    """
    ok = [trial for trial in trials if trial.status == "ok"]
    return max(ok, key=lambda trial: (trial.fidelity, trial.performance), default=None)


@dataclass
class _TrialSource:
    """Gets the trials of configurations: known ones from memory, the others by training."""

    data: TaskData
    learner: Learner
    strategy: str
    seed: int
    deadline: float | None
    on_trial: Callable[[Trial], None]
    refit: Refit
    stopping: Stopping | None
    known: dict[tuple[int, str], Trial] = field(default_factory=dict)
    given: int = 0
    works: bool = False
    waiting: list[Trial] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Is the time limit reached?"""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def remember(self, trials: Iterable[Trial]) -> None:
        """Keep the trials that may be reused, of all fidelities, those of this strategy before those of others.

        Stopped ones count for a search that stops trials itself; another trains them to the end.
        """
        mine = (self.data.task.task_id, self.learner.name, self.seed)
        for trial in trials:
            is_whole = trial.status != "stopped" or self.stopping is not None
            if is_whole and (trial.task_id, trial.learner, trial.seed) == mine:
                name = trial.fidelity, trial.configuration_id
                self.works = self.works or not trial.reason.startswith(ERROR)
                if name not in self.known or trial.strategy == self.strategy:
                    self.known[name] = trial

    def get(self, configurations: Sequence[Configuration], effort: int, before: Sequence[Trial]) -> list[Trial]:
        """Return the trials of configurations, in order; without those for which time was not enough.

        Args:
            configurations: What to try.
            effort: At which fidelity.
            before: The trials of the search so far.
        """
        found: dict[int, Trial] = {}
        for position, configuration in enumerate(configurations):
            trial = self.known.get((effort, configuration_id(configuration)))
            if trial is not None:
                found[position] = self._reuse(trial)
        missing = [position for position in range(len(configurations)) if position not in found]
        if missing and not (self.is_over and (found or self.given)):
            judge = None if self.stopping is None else self.stopping(before)
            with closing(self._train([configurations[position] for position in missing], effort, judge)) as trained:
                for index, trial in trained:
                    found[missing[index]] = self._add(trial)
        self.given += len(found)
        return [found[position] for position in sorted(found)]

    def refit_best(self, trials: list[Trial]) -> list[Trial]:
        """Return the trials with the test performance of the best; one whose refit fails is not the best."""
        positions = {trial.key: position for position, trial in enumerate(trials)}
        while (best := find_best(trials)) is not None and self._misses_refit(best):
            trials[positions[best.key]] = refit_trial(self.data, self.learner, best)
        return trials

    def _reuse(self, trial: Trial) -> Trial:
        """Return a known trial as one of this search, with the refit that another may have left out."""
        if self.refit == "all" and trial.status == "ok" and self._misses_refit(trial):
            return self._add(refit_trial(self.data, self.learner, trial))
        return trial if trial.strategy == self.strategy else self._add(trial)

    def _misses_refit(self, trial: Trial) -> bool:
        return isinstance(self.learner, Refitting) and math.isnan(trial.test_performance)

    def _add(self, trial: Trial) -> Trial:
        trial = replace(trial, strategy=self.strategy)
        self.waiting.append(trial)
        self.works = self.works or not trial.reason.startswith(ERROR)
        if self.works or len({_generalise(waiting.reason) for waiting in self.waiting}) > 1:
            self.report_waiting()
        elif len(self.waiting) == _ALIKE:
            raise MetaflowHPOError(
                f"Expected trainings that work; the first {_ALIKE} of {self.learner.name!r} on "
                f"{self.data.task.task_id} all failed alike, the last: {trial.reason.removeprefix(ERROR)}. Correct the "
                "code and search again; these trials are not kept."
            )
        return trial

    def report_waiting(self) -> None:
        """Report the trials that were held back: the first ones, which may all fail for a mistake in the code."""
        self.works = self.works or bool(self.waiting)
        for trial in self.waiting:
            self.on_trial(trial)
        self.waiting.clear()

    def _train(
        self, configurations: Sequence[Configuration], effort: int, judge: Judge | None
    ) -> Generator[tuple[int, Trial], None, None]:
        trained = train_trials(
            self.data,
            self.learner,
            configurations,
            strategy=self.strategy,
            seed=self.seed,
            fidelity=effort,
            refit=self.refit == "all",
            judge=judge,
        )
        with ending(trained) as finished:
            for index, trial in finished:
                yield index, trial
                if self.is_over:
                    return


def _generalise(reason: str) -> str:
    """Return a reason without its numbers, which may be those of the configuration."""
    return re.sub(r"[-+.\de]*\d", "0", reason)[:_SAME_LENGTH]


def _ignore(_: Trial) -> None:
    """Do nothing with a finished trial."""
