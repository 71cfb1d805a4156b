"""Fit the surrogate: two Lightning trainings a fold of families, early-stopped on meta-validation families.

The one thing to know: there is no final refit. The networks that were evaluated are the networks that are served. An
incremental fit goes on from networks that were: no family ever changes its fold, so network `j` still has never seen
those of fold `j`, and is still stopped on those of fold `j + 1` alone.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pytorch_lightning.loggers import Logger

from metaflow_hpo.history import History
from metaflow_hpo.surrogate.data import MetaDataModule, TaskDataModule
from metaflow_hpo.surrogate.module import EndsModule, SurrogateModule
from metaflow_hpo.surrogate.network import EndsNetwork, SurrogateNetwork
from metaflow_hpo.surrogate.predict import Surrogate
from metaflow_hpo.surrogate.splits import FamilySplit, assign_folds, extend_folds, split_families
from metaflow_hpo.surrogate.trained_network import NetworkShape, TrainedNetwork
from metaflow_hpo.surrogate.trainer import make_trainer, reproducible, train_to_best, validate


@dataclass(frozen=True)
class FitSettings:
    """How the surrogate is trained.

    Attributes:
        folds: Folds over families (3 or more; fewer families mean fewer folds).
        max_epochs: Upper limit of epochs a fold.
        patience: Epochs without a better validation loss before a fold stops.
        batch_size: Rows a step.
        seed: Seed of initialisation, mini-batch order and dropout.
        accelerator: Lightning's accelerator: `auto` takes a GPU where there is one.
        members: Networks in the ensemble of a fold.
        learning_rate: Where the cosine schedule starts.
        ends_epochs: Upper limit of epochs of the network of the ends, whose rows are tasks, not trials; 0 where
            performances have no bounds, or others than 0 and 1: then worst and best are not learned.
        ends_patience: Epochs without a better validation loss before it stops.
        refit_epochs: Upper limit of epochs a fold of an incremental fit.
        refit_learning_rate: Where its schedule starts: low, as the networks know all tasks but the new ones.
    """

    folds: int = 5
    max_epochs: int = 120
    patience: int = 25
    batch_size: int = 128
    seed: int = 0
    accelerator: str = "auto"
    members: int = 5
    learning_rate: float = 3e-3
    ends_epochs: int = 200
    ends_patience: int = 40
    refit_epochs: int = 6
    refit_learning_rate: float = 5e-4


@dataclass(frozen=True)
class WarmStart:
    """Where an incremental fit starts.

    Attributes:
        surrogate: Cross-fitted networks of the same search space, meta-features and number of folds.
        task_ids: The tasks they were fitted on, unchanged since; all others of the meta-data set are new.
    """

    surrogate: Surrogate
    task_ids: frozenset[str]


@dataclass(frozen=True)
class FoldReport:
    """What happened in one fold: `epochs` trained (0: kept, but for its ends), and the best epoch's metrics by name."""

    fold: int
    epochs: int
    metrics: dict[str, float]


def fit_surrogate(
    meta: History,
    learner: str,
    settings: FitSettings,
    checkpoint_folder: Path,
    *,
    start: WarmStart | None = None,
    make_logger: Callable[[int], Logger | None] = lambda _: None,
    on_fold: Callable[[FoldReport], None] = lambda _: None,
) -> tuple[Surrogate, list[FoldReport]]:
    """Train one ensemble a fold and return them as one surrogate.

    Args:
        meta: Meta-data set of at least three families.
        learner: Name of the learner, kept with the surrogate.
        settings: How to train.
        checkpoint_folder: Where the best weights of each fold are kept while it trains.
        start: Train on from there for `refit_epochs`, only the networks whose meta-train tasks include a new one; each
            keeps what it was where that is not improved on its meta-validation families. The small networks of the ends
            are trained from scratch even then. From scratch unless given.
        make_logger: Returns the Lightning logger of a fold, or None.
        on_fold: Called when a fold is done, for progress.

    Raises:
        InvalidTableError: If there are fewer than three families.
    """
    if start is None:
        assignment = assign_folds(meta.families, settings.folds)
    else:
        assignment = extend_folds(start.surrogate.fold_of_family, meta.families)
    networks, standardisers, reports = [], [], []
    for j, split in enumerate(split_families(meta.families, assignment)):
        folder, log = checkpoint_folder / f"fold-{j}", make_logger(j)
        if start is None:
            data = MetaDataModule(meta, split, batch_size=settings.batch_size, seed=settings.seed + j)
            network, report = _fit_fold(meta, split, data, j, settings, folder, logger=log)
        else:
            network, data, report = _refit_fold(start, meta, split, j, settings, folder, logger=log)
        networks.append(network)
        standardisers.append(data.standardiser)
        reports.append(report)
        on_fold(report)
    surrogate = Surrogate(
        learner=learner,
        space=meta.space,
        meta_feature_names=meta.meta_feature_names,
        networks=tuple(networks),
        standardisers=tuple(standardisers),
        fold_of_family=assignment,
        knows_ends=settings.ends_epochs > 0,
    )
    return surrogate, reports


def _fit_fold(
    meta: History,
    split: FamilySplit,
    data: MetaDataModule,
    j: int,
    settings: FitSettings,
    folder: Path,
    *,
    logger: Logger | None,
) -> tuple[TrainedNetwork, FoldReport]:
    inputs = len(meta.meta_feature_names) + len(data.standardiser.indicated)
    shape = NetworkShape(encoded=meta.points.shape[1], meta_features=inputs, members=settings.members)
    with reproducible(settings.seed, j):
        module = SurrogateModule(SurrogateNetwork(shape), learning_rate=settings.learning_rate)
        trainer = make_trainer(settings.max_epochs, settings.patience, settings.accelerator, folder, logger)
        metrics = train_to_best(trainer, module, data)
    tasks = TaskDataModule(meta, split, data.standardiser, seed=settings.seed + j)
    network = module.network
    if settings.ends_epochs:
        network.ends, ends_metrics = _fit_ends(shape, tasks, j, settings, folder)
        metrics |= ends_metrics
    return network.trained(), FoldReport(j, trainer.current_epoch, metrics)


def _fit_ends(
    shape: NetworkShape, data: TaskDataModule, j: int, settings: FitSettings, folder: Path
) -> tuple[EndsNetwork, dict[str, float]]:
    """Train the network of the ends; hundreds of tiny epochs, which cost more to log than to train, are not logged."""
    epochs, patience, monitor = settings.ends_epochs, settings.ends_patience, "validation_ends_loss"
    with reproducible(settings.seed, j):
        module = EndsModule(EndsNetwork(shape))
        trainer = make_trainer(epochs, patience, settings.accelerator, folder, None, monitor=monitor)
        metrics = train_to_best(trainer, module, data)
    return module.network.cpu().eval(), metrics


def _refit_fold(
    start: WarmStart,
    meta: History,
    split: FamilySplit,
    j: int,
    settings: FitSettings,
    folder: Path,
    *,
    logger: Logger | None,
) -> tuple[TrainedNetwork, MetaDataModule, FoldReport]:
    """Train network `j` on; it stays what it was where nothing is new to it or nothing is won."""
    trained, standardiser = start.surrogate.networks[j], start.surrogate.standardisers[j]
    known = SurrogateNetwork.of(trained).eval()
    new = np.array([t for t, task_id in enumerate(meta.task_ids) if task_id not in start.task_ids], dtype=np.int64)
    data = MetaDataModule(
        meta,
        split,
        batch_size=settings.batch_size,
        seed=settings.seed + j,
        standardiser=standardiser,
        new_tasks=new,
    )
    tasks = TaskDataModule(meta, split, standardiser, seed=settings.seed + j)
    with reproducible(settings.seed, j):
        module = SurrogateModule(copy.deepcopy(known).train(), learning_rate=settings.refit_learning_rate)
        trainer = make_trainer(settings.refit_epochs, settings.patience, settings.accelerator, folder, logger)
        before = validate(trainer, module, data)
        before_ends = validate(trainer, EndsModule(copy.deepcopy(known.ends)), tasks)
        if not np.isin(new, split.train).any():
            return trained, data, FoldReport(j, 0, before | before_ends)
        after = train_to_best(trainer, module, data)
    is_better = after["validation_loss"] < before["validation_loss"]
    network = module.network if is_better else known
    network.ends, after_ends = known.ends, before_ends
    if settings.ends_epochs:
        ends, found = _fit_ends(known.shape, tasks, j, settings, folder)
        if found["validation_ends_loss"] < before_ends["validation_ends_loss"]:
            network.ends, after_ends = ends, found
    epochs, metrics = (trainer.current_epoch, after) if is_better else (0, before)
    return network.trained(), data, FoldReport(j, epochs, metrics | after_ends)
