"""What a person types in Python: the same actions as the command line, frames in and frames out."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.extras import naming_extras
from metaflow_hpo.history import History
from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.tables import HP_PREFIX
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.collect.search import Refit
    from metaflow_hpo.collect.strategies.strategy import Strategy
    from metaflow_hpo.evaluate.benchmark import BenchmarkResult
    from metaflow_hpo.learners.learner import Learner
    from metaflow_hpo.modalities.hints import AskedKind
    from metaflow_hpo.recommender.recommender import Recommender as FittedRecommender

Source = str | Path | pd.DataFrame | Mapping[str, Any]
"""A file or folder of any modality, a table in memory, or the description of an opaque task."""


@dataclass(frozen=True)
class Recommendations:
    """Ranked configurations for a task.

    Attributes:
        answer: All that is known of them, as `metaflow-hpo recommend --json` prints it.
    """

    answer: Mapping[str, Any]

    @property
    def configurations(self) -> list[dict[str, Any]]:
        """The configurations, best first."""
        return [dict(line["configuration"]) for line in self.answer["recommendations"]]

    @property
    def frame(self) -> pd.DataFrame:
        """One line a configuration: rank, expected performance with its interval, `hp_<name>`."""
        return pd.DataFrame([_flatten(line) for line in self.answer["recommendations"]])

    @property
    def tuning(self) -> Mapping[str, Any] | None:
        """What tuning is expected to bring over the default, and whether it is worth it; None where nobody knows."""
        found: Mapping[str, Any] | None = self.answer["tuning"]
        return found

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.answer["recommendations"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go through the configurations, best first."""
        return iter(self.configurations)

    def __repr__(self) -> str:
        """Show the frame."""
        return self.frame.to_string(index=False)

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(index=False))


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        trials: One line a trial, in the order of proposing; `hp_<name>` are its hyperparameters.
        best_configuration: The best one; None where every trial failed.
        best_performance: Its validation score, higher is better; NaN where every trial failed.
    """

    trials: pd.DataFrame
    best_configuration: Configuration | None
    best_performance: float

    def __repr__(self) -> str:
        """Say what was best."""
        best = "every trial failed" if self.best_configuration is None else f"best {self.best_performance:.4g}"
        return f"SearchResult({len(self.trials)} trials, {best}: {dict(self.best_configuration or {})})"

    def _repr_html_(self) -> str:
        return str(self.trials.drop(columns="learning_curve", errors="ignore").to_html(index=False))


def recommend(
    data: Source,
    target: str | None = None,
    *,
    k: int = 5,
    trials: pd.DataFrame | str | Path | None = None,
    learner: str | None = None,
    kind: "AskedKind | None" = None,
    modality: str | None = None,
    options: Mapping[str, Any] | None = None,
    per_time: bool = False,
) -> Recommendations:
    """Recommend configurations for a task, without training anything.

    Args:
        data: A file or folder, a frame, or the description of an opaque task.
        target: What to predict.
        k: How many configurations.
        trials: Your own trials of this task so far: `performance` and `hp_<name>`.
        learner: Whose configurations; the setting's, or where that does not fit the modality's, unless given.
        kind: What the target of a table is; told from its values unless given.
        modality: What the inputs are, where that cannot be told.
        options: What only this modality knows, as under `options` of a sidecar.
        per_time: Most expected gain per second of training first, rather than per trial.

    Raises:
        MetaflowHPOError: If the data cannot become a task, or nothing is known of the learner.
    """
    from metaflow_hpo.actions import advise

    with _as_path(data) as source, _as_path(trials) as known, _opened(learner, _needed(source), modality) as pipeline:
        observed = [] if known is None else advise.read_observed(known, pipeline.learner)
        described = advise.describe_file(_needed(source), target, kind=kind, modality=modality, options=options)
        answer = advise.recommend_and_remember(pipeline, described, k, observed, per_time=per_time)
    return Recommendations(answer)


def search(
    data: Source,
    target: str | None = None,
    *,
    learner: "Learner | str | None" = None,
    strategy: str = "recommended",
    trials: int = 20,
    seconds: float | None = None,
    seed: int = 0,
    past: Any = None,
    features: Mapping[str, float] | None = None,
    assume: Mapping[str, Any] | None = None,
    learn: bool = False,
    workers: int | None = None,
    refit: "Refit" = "best",
    stop: bool = True,
    kind: "AskedKind | None" = None,
    modality: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Search a task; the same call goes on where a killed one stopped.

    Args:
        data: A file or folder, a frame, or the description of an opaque task.
        target: What to predict.
        learner: What is tuned: a name, `module:attribute`, or a learner such as `learner_from_function` returns; the
            setting's, or where that does not fit the modality's, unless given.
        strategy: Who proposes.
        trials: How many trainings.
        seconds: Time limit.
        seed: Seed of strategy and trainings.
        past: Trials of the learner, or of a relative with another search space, on other tasks: a history, a frame, its
            file, a folder that `fit` wrote, an Optuna storage or studies.
        features: Meta-features of the task, beside what its modality says of it.
        assume: Values of hyperparameters for past trials that lack them.
        learn: Write what is found into the file that `past` names, a history in parquet, which is made where there is
            none.
        workers: Trainings at once.
        refit: Whether `all` trials or only the `best` is trained on all training rows too, for its test performance.
        stop: Stop trials that will not win, where that was learned.
        kind: What the target of a table is; told from its values unless given.
        modality: What the inputs are, where that cannot be told.
        options: What only this modality knows, as under `options` of a sidecar.

    Raises:
        MetaflowHPOError: If the data cannot become a task, or the learner cannot train it.
    """
    from metaflow_hpo.actions import own_trials
    from metaflow_hpo.actions.past_knowledge import know_others, know_past, learn_from
    from metaflow_hpo.adapters.past_trials.growing import check_growing
    from metaflow_hpo.collect.search import find_best
    from metaflow_hpo.modalities.registry import read_source
    from metaflow_hpo.tables import trials_to_frame

    with _as_path(data) as source, _opened(learner, _needed(source), modality) as pipeline:
        rows = read_source(_needed(source), target=target, kind=kind, modality=modality, options=options)
        grown = check_growing(past) if learn else None
        known = None
        if grown is not None:
            known = know_others(grown, pipeline.learner, rows.task.task_id, assume=assume)
        elif past is not None:
            known = know_past(past, pipeline.learner, assume=assume)
        found = own_trials.search(
            pipeline,
            rows,
            strategy=strategy,
            trials=trials,
            seconds=seconds,
            per_time=seconds is not None,
            seed=seed,
            refit=refit,
            stop=stop,
            workers=workers,
            past=known,
            features=features,
        )
        if grown is not None:
            learn_from(grown, rows, pipeline.learner, found, known=known, features=features)
    best = find_best(found)
    return SearchResult(
        trials=trials_to_frame(found),
        best_configuration=None if best is None else best.configuration,
        best_performance=math.nan if best is None else best.performance,
    )


@dataclass
class Recommender:
    """Recommends configurations for a new task, and goes on from what came of them.

    Attributes:
        fitted: What was learned from past tasks.
        meta_features: Of the new task, by column; None where nothing is known of it.
        seed: Seed of configurations that are proposed beside those of past tasks.
    """

    fitted: "FittedRecommender"
    meta_features: Mapping[str, float] | None = None
    seed: int = 0
    _strategy: "Strategy" = field(init=False, repr=False)
    _told: list[tuple[Configuration, float]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        from metaflow_hpo.collect.strategies.strategy import StrategyContext
        from metaflow_hpo.recommender.strategies.recommended import RecommendedStrategy

        context = StrategyContext(
            self.fitted.space, seed=self.seed, meta_features=self.fitted.read_meta_features(self.meta_features)
        )
        self._strategy = RecommendedStrategy(self.fitted, context)

    @property
    def space(self) -> SearchSpace:
        """The search space of the learner."""
        return self.fitted.space

    def start(self, meta_features: Mapping[str, float] | None = None, *, seed: int = 0) -> "Recommender":
        """Begin another task.

        Args:
            meta_features: Of the task, by column; None where nothing is known of it.
            seed: Seed of configurations that are proposed beside those of past tasks.
        """
        return Recommender(self.fitted, meta_features, seed)

    def ask(self, count: int = 1) -> list[dict[str, Any]]:
        """Return the next configurations to try; what was asked for and not told counts as still running."""
        return [dict(configuration) for configuration in self._strategy.ask(count)]

    def tell(
        self,
        configurations: Configuration | Sequence[Configuration],
        performances: float | Sequence[float | None] | None,
    ) -> None:
        """Say what came of configurations, asked for or not.

        Args:
            configurations: One, or several.
            performances: The score of each in the metric's own units; None or NaN where the training failed.

        Raises:
            SearchSpaceMismatchError: If a configuration does not belong to the search space.
            InvalidTableError: If there are not as many scores as configurations.
        """
        tried = [configurations] if isinstance(configurations, Mapping) else list(configurations)
        given = list(performances) if isinstance(performances, Sequence) else [performances]
        if len(tried) != len(given):
            raise InvalidTableError(f"Expected one score a configuration; got {len(tried)} and {len(given)}.")
        valid = [self.space.validate(configuration) for configuration in tried]
        scores = [math.nan if score is None else float(score) for score in given]
        self._strategy.tell([Trial.told(c, self.fitted.sign * s) for c, s in zip(valid, scores, strict=True)])
        self._told += [(c, s) for c, s in zip(valid, scores, strict=True) if math.isfinite(s)]

    def recommend(self, k: int = 5) -> Recommendations:
        """Return k complementary configurations, given what was told, with intervals and evidence."""
        from metaflow_hpo.recommender.observed import ObservedTrial

        observed = [ObservedTrial(c, s) for c, s in self._told]
        answer = self.fitted.recommend(self.meta_features, k, observed)
        return Recommendations({"task": {"task_id": None, "notes": []}, **answer})

    def save(self, folder: str | Path) -> None:
        """Write what was learned into a folder, which `metaflow-hpo recommend --recommender` reads."""
        from metaflow_hpo.adapters.files import replacing

        with replacing(Path(folder)) as fresh:
            self.fitted.save(fresh)

    @classmethod
    def load(cls, folder: str | Path) -> "Recommender":
        """Read what `save`, or `metaflow-hpo fit`, has written.

        Raises:
            InvalidTableError: If the folder does not hold it.
        """
        from metaflow_hpo.recommender.recommender import Recommender as FittedRecommender

        return cls(FittedRecommender.load(Path(folder)))


def fit(
    history: "History | pd.DataFrame | str | Path", *, networks: bool | Literal["auto"] = False, seed: int = 0
) -> Recommender:
    """Learn from past trials of a learner.

    Args:
        history: The trials: a history, a frame of the same form, or its file.
        networks: Whether networks are trained too, minutes for hundreds of tasks; `auto` keeps them only where they are
            of use on families that they have not seen.
        seed: Seed of the first task's proposals.

    Raises:
        InvalidTableError: If fewer than two families have trials that differ.
    """
    from metaflow_hpo.evaluate.fitting import fit_recommender

    return Recommender(fit_recommender(_as_history(history), networks=networks), seed=seed)


def benchmark(
    history: "History | pd.DataFrame | str | Path",
    *,
    strategies: Sequence[str] | None = None,
    ks: Sequence[int] = (1, 3, 5, 10, 25, 50),
    seeds: int = 3,
    workers: int = 1,
) -> "BenchmarkResult":
    """Say whether learning from past tasks helps on a table of trials: a leave-family-out replay.

    Args:
        history: The trials.
        strategies: Names or addresses of what is compared; `recommended` and all baselines unless given.
        ks: Numbers of trials at which regret is reported.
        seeds: Repetitions of random strategies.
        workers: Processes.

    Raises:
        InvalidTableError: If the table is none of trials, or a strategy is not known.
    """
    from metaflow_hpo.evaluate.benchmark import Plan, choose_names, run_benchmark

    plan = Plan(names=choose_names(strategies), ks=tuple(ks), seeds=seeds)
    return run_benchmark(_as_history(history), plan, workers=workers)


def import_trials(source: str, address: Any, **options: Any) -> History:
    """Read the trials that another tool has kept.

    Args:
        source: `optuna`, `mlflow`, `wandb`, `ray`, `keras-tuner`, ...
        address: Where they are: a storage, a server, a folder, a file; or a table or an object of the tool.
        options: What the source knows, as in `metaflow-hpo import-trials --help`: `metric`, `mode`, `task`, ...

    Raises:
        MetaflowHPOError: If there is no such source, nothing is at the address, or something must be said to read it.
    """
    from metaflow_hpo.actions import past_trials

    return past_trials.import_history(source, address, **options)


@contextmanager
def _opened(learner: "Learner | str | None", source: Path, modality: str | None) -> "Iterator[Pipeline]":
    """Open the surroundings that the settings describe, with a learner in place of the setting's, or one that fits."""
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.modalities.registry import tell_modality
    from metaflow_hpo.settings import Settings

    with naming_extras():
        if learner is None:
            yield Pipeline(Settings.load()).asked(tell_modality(source, modality))
        elif isinstance(learner, str):
            yield Pipeline(Settings.load(learner=learner), is_chosen=True)
        else:
            yield Pipeline(Settings.load(learner=learner.name), own_learner=learner)


@contextmanager
def _as_path(data: Any) -> Iterator[Path | None]:
    """Give what is in memory as a file."""
    if isinstance(data, pd.DataFrame):
        with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
            path = Path(folder) / "frame.parquet"
            data.to_parquet(path, index=False)
            yield path
    elif isinstance(data, Mapping):
        with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
            path = Path(folder) / "task.yaml"
            path.write_text(json.dumps(dict(data)), encoding="utf-8")
            yield path
    else:
        yield None if data is None else Path(data).expanduser()


def _needed(source: Path | None) -> Path:
    if source is None:
        raise InvalidTableError("Expected a file, a folder, a frame or the description of a task; got None.")
    return source


def _as_history(history: "History | pd.DataFrame | str | Path") -> History:
    if isinstance(history, History):
        return history
    return History.from_frame(history) if isinstance(history, pd.DataFrame) else History.read(history)


def _flatten(line: Mapping[str, Any]) -> dict[str, Any]:
    performance = line["performance"]
    return {
        "rank": line["rank"],
        "performance": performance["mean"],
        "low": performance["low"],
        "high": performance["high"],
        "expected_duration_s": line["expected_duration_s"],
        **{HP_PREFIX + name: value for name, value in line["configuration"].items()},
    }
