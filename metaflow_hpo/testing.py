"""Contract tests that a plug-in can run on itself; each raises an `AssertionError` that says what was expected."""

import hashlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.registry import load_factory
from metaflow_hpo.collect.strategies.strategy import Strategy, StrategyContext, StrategyFactory
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError, MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.history import History
from metaflow_hpo.learners.learner import Learner, Outcome, Refitting, ending
from metaflow_hpo.learners.registry import check_learner as expect_learner
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.modalities.modality import ArrayModality, Fingerprinting, Modality, Sampling, Split
from metaflow_hpo.modalities.registry import groups_of
from metaflow_hpo.space import Categorical, Condition, Configuration, Float, Integer, SearchSpace
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.adapters.past_trials.source import Source, Wanted

SPACE = SearchSpace(
    (
        Float("learning_rate", 1e-4, 1.0, 0.01, log=True),
        Categorical("optimizer", ("sgd", "adam", "rmsprop"), "adam"),
        Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd", "rmsprop"))),
        Integer("layers", 1, 4, 2),
    )
)
"""What `check_strategy` lets strategies search, unless told otherwise."""
FIDELITY = 27
_SMALL = SearchSpace((Categorical("a", ("x", "y"), "y"), Integer("b", 1, 3, 2)))
_SIZE_OF_SMALL = 6
_TRIALS = 14


def check_strategy(strategy: str | StrategyFactory, *, space: SearchSpace = SPACE) -> None:
    """Check that a strategy keeps the contract of `Strategy`, alone and confined to a pool.

    Args:
        strategy: A factory, or its name or address.
        space: What it searches here.

    Raises:
        AssertionError: If it does not.
    """
    factory = load_factory(strategy) if isinstance(strategy, str) else strategy
    for context in (make_strategy_context(space), make_strategy_context(space, confined=True)):
        first = _play(factory(context), space, _TRIALS)
        _expect(len(first) >= 1, "it proposes something", first)
        _check_distinct(first)
        if context.pool is not None:
            beside = [c for _, c in first if c not in context.pool.configurations]
            _expect(not beside, "proposals are of the pool", beside)
        _expect(_play(factory(context), space, _TRIALS) == first, "the same seed and trials give the same", first)
        _check_resuming(factory, context, first)
        _check_pending(factory, context)
        _check_failures(factory, context)
    small = make_strategy_context(_SMALL)
    _check_distinct(_play(factory(small), _SMALL, 3 * _SIZE_OF_SMALL))
    asked = factory(small).ask(2 * _SIZE_OF_SMALL)
    _expect(len(asked) <= _SIZE_OF_SMALL, "a space that is used up ends the asking", asked)


def make_strategy_context(
    space: SearchSpace = SPACE, *, tasks: int = 5, seed: int = 3, confined: bool = False
) -> StrategyContext:
    """Return what a strategy may be made from: past tasks with one meta-feature, which the new task has as well.

    Args:
        space: The search space.
        tasks: How many past tasks.
        seed: Seed of the strategy.
        confined: Whether to what past tasks have tried.
    """
    rng = np.random.default_rng(0)
    drawn = [space.validate(space.default), *space.from_unit(rng.random((40, len(space.hyperparameters))))]
    configurations = tuple({str(c): c for c in drawn}.values())
    units = space.to_unit(configurations)
    at = np.linspace(0.1, 0.9, tasks)
    performance = 1.0 - np.abs(units[None, :, 0] - at[:, None]) - 0.1 * units[None, :, -1]
    history = History.from_arrays(
        space,
        configurations,
        [f"task_{t}" for t in range(tasks)],
        [f"family_{t}" for t in range(tasks)],
        performance,
        meta_feature_names=["mf_at"],
        meta_features=at[:, None],
    )
    return StrategyContext(
        space,
        seed=seed,
        budget=40,
        fidelity=FIDELITY,
        pool=Pool(space, configurations) if confined else None,
        past=history.past_tasks(),
        meta_features=np.array([0.45]),
    )


Asked = list[tuple[int, Configuration]]
"""What was asked for, each with its fidelity."""


def _play(strategy: Strategy, space: SearchSpace, count: int, told: Sequence[Trial] = ()) -> Asked:
    """Let a strategy search, one configuration at a time."""
    strategy.tell(told)
    asked: Asked = []
    while len(asked) < count:
        fidelity = strategy.fidelity or FIDELITY
        proposed = strategy.ask(1)
        if not proposed:
            break
        _expect(len(proposed) == 1, "asked for 1, it returns 1", proposed)
        _expect(space.validate(proposed[0]) == proposed[0], "configurations are canonical", proposed)
        asked.append((fidelity, proposed[0]))
        strategy.tell([_train(space, proposed[0], fidelity)])
    return asked


def _train(space: SearchSpace, configuration: Configuration, fidelity: int, *, failed: bool = False) -> Trial:
    units = space.to_unit([configuration])[0]
    performance = float("nan") if failed else float(0.9 - abs(units[0] - 0.45) - 0.1 * units[-1])
    return Trial(
        task_id="new",
        family="new",
        learner="checked",
        configuration=configuration,
        strategy="checked",
        seed=0,
        fidelity=fidelity,
        performance=performance,
        test_performance=float("nan"),
        duration_s=1.0,
        status="failed" if failed else "ok",
        reason="diverged" if failed else "",
    )


def _check_distinct(asked: Asked) -> None:
    distinct = {(fidelity, tuple(configuration.items())) for fidelity, configuration in asked}
    _expect(len(distinct) == len(asked), "nothing is asked for twice at the same fidelity", asked)


def _check_resuming(factory: StrategyFactory, context: StrategyContext, first: Asked) -> None:
    half = len(first) // 2
    told = [_train(context.space, configuration, fidelity) for fidelity, configuration in first[:half]]
    rest = _play(factory(context), context.space, len(first) - half, told)
    _expect(rest == first[half:], "told the first half, it goes on as it did", rest)


def _check_pending(factory: StrategyFactory, context: StrategyContext) -> None:
    strategy = factory(context)
    asked = [configuration for _ in range(6) for configuration in strategy.ask(1)]
    again = factory(context)
    _expect(
        [configuration for _ in range(6) for configuration in again.ask(1)] == asked,
        "with trials pending the same seed gives the same",
        asked,
    )
    _expect(len({tuple(c.items()) for c in asked}) == len(asked), "what is pending is not asked for again", asked)


def _check_failures(factory: StrategyFactory, context: StrategyContext) -> None:
    strategy = factory(context)
    for _ in range(4):
        fidelity = strategy.fidelity or FIDELITY
        strategy.tell([_train(context.space, c, fidelity, failed=True) for c in strategy.ask(1)])


def check_modality(modality: Modality, source: Path, **given: Any) -> None:
    """Check that a modality keeps the contract of `Modality`, and of the smaller protocols that it has.

    Args:
        modality: The modality.
        source: A file or folder that it reads.
        given: Hints that it needs to read it, see `Hints`.

    Raises:
        AssertionError: If it does not.
    """
    _expect(isinstance(modality, Modality), "an object with all of the protocol `Modality`", modality)
    _expect(modality.name.isidentifier(), "a name of one word", modality.name)
    _expect(modality.recognises(source), "it recognises what it reads", source)
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        nothing = Path(folder) / f"nothing{source.suffix}"
        _expect(_refuses(lambda: modality.read(nothing, Hints())), "an InvalidTaskError for what is not there", nothing)
        data = modality.read(source, Hints().given(**given))
        _check_read(modality, source, data, given)
        _check_kept(modality, data, Path(folder))
    for group in groups_of(modality.name):
        check_meta_features(group, data)
    if isinstance(modality, ArrayModality):
        _check_arrays(modality, data)
    if isinstance(modality, Fingerprinting):
        _expect(modality.fingerprint(data) == modality.fingerprint(data), "the same fingerprints twice", data.task)
    if isinstance(modality, Sampling):
        most = modality.sample(data, data.task.rows).task
        _expect(most.rows == data.task.rows, "a sample of all is all", most)


def _refuses(call: Callable[[], object], error: type[MetaflowHPOError] = InvalidTaskError) -> bool:
    try:
        call()
    except error:
        return True
    return False


def _check_read(modality: Modality, source: Path, data: TaskData, given: Mapping[str, Any]) -> None:
    task = data.task
    _expect(task.modality == modality.name, "tasks of its own modality", task.modality)
    _expect(task == modality.read(source, Hints().given(**given)).task, "the same task on reading again", task)
    told = {"task_id": "told", "family": "relatives", "licence": "CC0", "simulated": True}
    said = modality.read(source, Hints().given(**given).given(**told)).task.to_dict()
    _expect({name: said[name] for name in told} == told, "what a person says of a task wins", said)
    _expect(said["sha256"] == task.sha256, "a digest of the content alone", said["sha256"])
    renamed = replace(cast(Any, data), task=replace(task, family="relatives"))
    _expect(renamed.task.family == "relatives", "data that are a dataclass with a field `task`", type(data))


def _check_kept(modality: Modality, data: TaskData, folder: Path) -> None:
    once, again = folder / "once", folder / "again"
    modality.save(data, once)
    loaded = modality.load(once)
    _expect(loaded.task == data.task, "the task that was saved", loaded.task)
    modality.save(loaded, again)
    _expect(once.read_bytes() == again.read_bytes(), "the same bytes for the same task", data.task.task_id)


def _check_arrays(modality: ArrayModality, data: TaskData) -> None:
    splits = modality.split(data)
    again = modality.split(data)
    test = set(splits.test.valid.tolist())
    _expect(len(splits.validation) > 0, "at least one split for validation", splits)
    _expect(len(test) == data.task.test_rows, "the test rows of the task", len(test))
    for split, other in zip([*splits.validation, splits.test], [*again.validation, again.test], strict=True):
        train, valid = set(split.train.tolist()), set(split.valid.tolist())
        _expect(bool(train and valid) and not train & valid, "rows to learn from and others to be scored on", split)
        _expect(np.array_equal(split.train, other.train), "the same split twice", split)
        _expect(split is splits.test or not (train | valid) & test, "validation without test rows", split)
        fold = modality.prepare(data, split)
        _expect((len(fold.x_train), len(fold.x_valid)) == (len(train), len(valid)), "a line a row", fold)
        _expect((len(fold.y_train), len(fold.y_valid)) == (len(train), len(valid)), "a target a row", fold)
        _expect(_is_usable(fold.x_train) and _is_usable(fold.x_valid), "numbers without infinity, or texts", fold)
        half = modality.prepare(data, Split(split.train, split.valid[: max(len(valid) // 2, 1)]))
        _expect(_equal(half.x_train, fold.x_train), "a preparation by the rows trained on alone", split)


def _is_usable(array: np.ndarray[Any, Any]) -> bool:
    if array.dtype.kind == "f":  # NaN is a value that is missing
        return not np.isinf(array).any()
    return all(isinstance(one, str) for one in array.ravel()) if array.dtype == object else array.dtype.kind in "iubU"


def _equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def check_meta_features(group: MetaFeatureGroup, data: TaskData) -> None:
    """Check that a group of meta-features keeps the contract of `MetaFeatureGroup` on a task.

    Args:
        group: The group.
        data: A task of a modality that it describes.

    Raises:
        AssertionError: If it does not.
    """
    _expect(isinstance(group, MetaFeatureGroup), "a `MetaFeatureGroup`", group)
    _expect(group.describes(data.task.modality), f"a task of one of its modalities {group.modalities}", data.task)
    unnamed = [name for name, feature in group.features.items() if not feature.description.strip()]
    _expect(not unnamed, "a description of every feature", unnamed)
    values = _measure(group, data)
    _expect(_measure(group, data) == values, "the same meta-features twice", values)
    renamed = replace(cast(Any, data), task=replace(data.task, task_id="other", family="other", notes=()))
    _expect(_measure(group, renamed) == values, "meta-features of the content, not of its name", values)
    _expect(bool(values), "at least one meta-feature", values)
    columns = {name.removeprefix(group.prefix): np.array([value]) for name, value in values.items()}
    chance = None if group.chance is None else group.chance(columns)
    _expect(chance is None or bool((chance >= 0).all() and (chance <= 1).all()), "a chance in [0, 1]", chance)


def _measure(group: MetaFeatureGroup, data: TaskData) -> dict[str, float]:
    try:
        return group.describe(data)
    except MetaflowHPOError as error:
        raise AssertionError(f"Expected finite numbers for the group's features alone; {error}") from error


def check_source(source: "Source", address: Any, wanted: "Wanted | None" = None) -> None:
    """Check that a source of past trials keeps the contract of `Source`, with trials that are at an address.

    Args:
        source: The source.
        address: A file, folder or URL with trials of at least one task.
        wanted: What must be said for it to be read.

    Raises:
        AssertionError: If it does not.
    """
    from metaflow_hpo.adapters.past_trials.build import build
    from metaflow_hpo.adapters.past_trials.source import Wanted

    wanted = wanted or Wanted()
    before = _fingerprint(Path(str(address)))
    found = source.read(address, wanted)
    _expect(bool(found.trials), "there are trials", found.trials)
    values = [trial.value for trial in found.trials if trial.status == "ok"]
    _expect(any(value is not None and np.isfinite(value) for value in values), "some ended with a value", values)
    curves = [trial.curve for trial in found.trials if not all(map(np.isfinite, trial.curve))]
    _expect(not curves, "learning curves are of finite values", curves)
    negative = [trial.duration_s for trial in found.trials if trial.duration_s is not None and trial.duration_s < 0]
    _expect(not negative, "durations are seconds", negative)
    imported, again = build(found, wanted), build(source.read(address, wanted), wanted)
    _expect(imported.to_json() == again.to_json(), "it reads the same twice", again.to_json())
    _expect(_fingerprint(Path(str(address))) == before, "it changes nothing at the address", address)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "past.parquet"
        imported.write(path)
        history = History.read(path)
    _expect(history.space.names == imported.space.names, "what is written is read back", history.space.names)
    missing = Path(str(address)).with_name("nothing-is-here")
    _expect(
        _refuses(lambda: source.read(str(missing), wanted), InvalidTableError),
        "an address with nothing is refused",
        missing,
    )
    _expect(not missing.exists(), "an address with nothing stays one", missing)


def check_learner(learner: Learner, data: TaskData, *, configurations: int = 3, fidelity: int | None = None) -> None:
    """Check that a learner keeps the contract of `Learner` on a task.

    Args:
        learner: The learner.
        data: A task that it trains on, small enough to be trained on some ten times.
        configurations: How many are trained at once.
        fidelity: Training effort; the full one unless given.

    Raises:
        AssertionError: If it does not.
    """
    expect_learner(learner, learner.name)
    fits = not learner.modalities or data.task.modality in learner.modalities
    _expect(fits, f"a task of one of its modalities {learner.modalities}", data.task.modality)
    space, effort = learner.space, fidelity or learner.fidelity.maximum
    units = np.random.default_rng(0).random((configurations - 1, len(space.names)))
    tried = [space.validate(c) for c in (space.default, *space.from_unit(units))]

    def train(some: Sequence[Configuration], **options: Any) -> dict[int, Outcome]:
        finished = list(learner.train(data, some, **{"fidelity": effort, "seed": 3, **options}))
        _expect(sorted(i for i, _ in finished) == list(range(len(some))), "each configuration once", finished)
        return dict(finished)

    together = train(tried)
    for outcome in together.values():
        _check_outcome(outcome, data)
    _expect(any(not outcome.reason for outcome in together.values()), "a training that works", together)
    again, alone = train(tried[::-1]), train(tried[-1:])
    turned = [again[configurations - 1 - i].performance for i in range(configurations)]
    told = [together[i].performance for i in range(configurations)]
    _expect(turned == told, "the same outcome for the same seed, in whatever order", (told, turned))
    _expect(alone[0].performance == together[configurations - 1].performance, "the same outcome without others", alone)
    _expect(train([]) == {}, "nothing for no configurations", None)
    refused = SearchSpaceMismatchError
    wrong: list[tuple[Sequence[Configuration], int]] = [([{"no_such": 1}], effort), (tried, 0), (tried, 10**9)]
    for some, asked in wrong:
        call = partial(learner.train, data, some, fidelity=asked, seed=0)
        _expect(_refuses(call, refused), "a wrong request is refused with SearchSpaceMismatchError", (some, asked))
    with ending(learner.train(data, tried, fidelity=effort, seed=3)) as trained:
        next(trained)
    for outcome in train(tried, judge=_StopAll()).values():
        _check_outcome(outcome, data)
    if isinstance(learner, Refitting):
        refitted = learner.refit(data, tried[0], fidelity=effort, seed=3)
        _expect(bool(refitted.reason) or refitted.test_performance is not None, "a refit measures test rows", refitted)


class _StopAll:
    """A judge that stops everything after the first unit of fidelity."""

    checkpoints = (1,)

    def __call__(self, curve: Any) -> str:
        return "stopped: by the check"


def _check_outcome(outcome: Outcome, data: TaskData) -> None:
    performance = outcome.performance
    _expect(outcome.duration_s >= 0, "seconds of 0 or more", outcome)
    if outcome.reason:
        _expect(performance is None, "no performance where it failed or was stopped", outcome)
        return
    _expect(performance is not None and math.isfinite(performance), "a finite performance, or a reason", outcome)
    _expect(data.task.metric.admits(performance or 0.0), "a performance within the bounds of the metric", outcome)
    _expect(not outcome.stopped, "a reason why it was stopped", outcome)


def _fingerprint(path: Path) -> dict[str, bytes]:
    """Return the content of all files at a path; nothing for a URL."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    return {str(file): hashlib.sha256(file.read_bytes()).digest() for file in files}


def _expect(is_so: bool, what: str, found: object) -> None:
    if not is_so:
        raise AssertionError(f"Expected of a plug-in: {what}; found {found}.")
