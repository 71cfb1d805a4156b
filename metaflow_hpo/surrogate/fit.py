"""Fit the surrogate: one Lightning training a fold of families, early-stopped on meta-validation families.

The one thing to know: there is no final refit. The networks that were evaluated are the networks that are served. An
incremental fit goes on from networks that were: no family ever changes its fold, so network `j` still has never seen
those of fold `j`, and is still stopped on those of fold `j + 1` alone.
"""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from metaflow_hpo.learners.threads import one_thread
from metaflow_hpo.surrogate.data import MetaDataModule
from metaflow_hpo.surrogate.meta_dataset import MetaDataset
from metaflow_hpo.surrogate.module import SurrogateModule
from metaflow_hpo.surrogate.network import NetworkShape, SurrogateNetwork
from metaflow_hpo.surrogate.predict import Surrogate
from metaflow_hpo.surrogate.splits import FamilySplit, assign_folds, extend_folds, split_families


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
    """What happened in one fold: `epochs` trained (0: kept as it was), the best epoch's validation metrics by name."""

    fold: int
    epochs: int
    metrics: dict[str, float]


def fit_surrogate(
    meta: MetaDataset,
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
            keeps what it was where that is not improved on its meta-validation families. From scratch unless given.
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
            network, report = _fit_fold(meta, data, j, settings, folder, logger=log)
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
    )
    return surrogate, reports


def _fit_fold(
    meta: MetaDataset, data: MetaDataModule, j: int, settings: FitSettings, folder: Path, *, logger: Logger | None
) -> tuple[SurrogateNetwork, FoldReport]:
    shape = NetworkShape(
        encoded=meta.encoded.shape[1], meta_features=len(meta.meta_feature_names), members=settings.members
    )
    with _reproducible(settings, j):
        module = SurrogateModule(SurrogateNetwork(shape), learning_rate=settings.learning_rate)
        trainer, best = _make_trainer(settings, settings.max_epochs, folder, logger)
        trainer.fit(module, datamodule=data)
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
        metrics = trainer.validate(module, datamodule=data, verbose=False)[0]
    return _freeze(module), FoldReport(j, trainer.current_epoch, _plain(metrics))


def _refit_fold(
    start: WarmStart,
    meta: MetaDataset,
    split: FamilySplit,
    j: int,
    settings: FitSettings,
    folder: Path,
    *,
    logger: Logger | None,
) -> tuple[SurrogateNetwork, MetaDataModule, FoldReport]:
    """Train network `j` on; it stays what it was where nothing is new to it or nothing is won."""
    known, standardiser = start.surrogate.networks[j], start.surrogate.standardisers[j]
    new = np.array([t for t, task_id in enumerate(meta.task_ids) if task_id not in start.task_ids], dtype=np.int64)
    data = MetaDataModule(
        meta,
        split,
        batch_size=settings.batch_size,
        seed=settings.seed + j,
        standardiser=standardiser,
        new_tasks=new,
    )
    with _reproducible(settings, j):
        module = SurrogateModule(copy.deepcopy(known).train(), learning_rate=settings.refit_learning_rate)
        trainer, best = _make_trainer(settings, settings.refit_epochs, folder, logger)
        before = _plain(trainer.validate(module, datamodule=data, verbose=False)[0])
        if not np.isin(new, split.train).any():
            return known, data, FoldReport(j, 0, before)
        trainer.fit(module, datamodule=data)
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
        after = _plain(trainer.validate(module, datamodule=data, verbose=False)[0])
    if after["validation_loss"] >= before["validation_loss"]:
        return known, data, FoldReport(j, 0, before)
    return _freeze(module), data, FoldReport(j, trainer.current_epoch, after)


def _make_trainer(
    settings: FitSettings, max_epochs: int, folder: Path, logger: Logger | None
) -> tuple[pl.Trainer, ModelCheckpoint]:
    best = ModelCheckpoint(folder, monitor="validation_loss", filename="best", enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        accelerator=settings.accelerator,
        devices=1,
        logger=logger or False,
        callbacks=[best, EarlyStopping("validation_loss", patience=settings.patience)],
        gradient_clip_val=1.0,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=True,
        log_every_n_steps=1,
    )
    return trainer, best


def _freeze(module: SurrogateModule) -> SurrogateNetwork:
    return module.network.cpu().eval()


def _plain(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


@contextmanager
def _reproducible(settings: FitSettings, j: int) -> Iterator[None]:
    """Seed a fold, on one thread, and leave the global generators alone."""
    with torch.random.fork_rng(devices=[]), one_thread(), _quiet_lightning():
        torch.manual_seed(settings.seed * 1_000 + j)
        yield


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Train without Lightning's hardware banner and its advice about workers of in-memory tensors."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    loggers: Sequence[logging.Logger] = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
