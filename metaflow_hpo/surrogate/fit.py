"""Fit the surrogate: one Lightning training a fold of families, early-stopped on meta-validation families.

The one thing to know: there is no final refit. The networks that were evaluated are the networks that are served.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from metaflow_hpo.surrogate.data import MetaDataModule
from metaflow_hpo.surrogate.meta_dataset import MetaDataset
from metaflow_hpo.surrogate.module import SurrogateModule
from metaflow_hpo.surrogate.network import NetworkShape, SurrogateNetwork
from metaflow_hpo.surrogate.predict import Surrogate
from metaflow_hpo.surrogate.splits import assign_folds, split_families
from metaflow_hpo.surrogate.threads import one_thread


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
    """

    folds: int = 5
    max_epochs: int = 120
    patience: int = 25
    batch_size: int = 128
    seed: int = 0
    accelerator: str = "auto"
    members: int = 5


@dataclass(frozen=True)
class FoldReport:
    """What happened in one fold: `epochs` trained, and the best epoch's validation metrics by name."""

    fold: int
    epochs: int
    metrics: dict[str, float]


def fit_surrogate(
    meta: MetaDataset,
    learner: str,
    settings: FitSettings,
    checkpoint_folder: Path,
    *,
    make_logger: Callable[[int], Logger | None] = lambda _: None,
    on_fold: Callable[[FoldReport], None] = lambda _: None,
) -> tuple[Surrogate, list[FoldReport]]:
    """Train one ensemble a fold and return them as one surrogate.

    Args:
        meta: Meta-data set of at least three families.
        learner: Name of the learner, kept with the surrogate.
        settings: How to train.
        checkpoint_folder: Where the best weights of each fold are kept while it trains.
        make_logger: Returns the Lightning logger of a fold, or None.
        on_fold: Called when a fold is done, for progress.

    Raises:
        InvalidTableError: If there are fewer than three families.
    """
    assignment = assign_folds(meta.families, settings.folds)
    networks, standardisers, reports = [], [], []
    for j, split in enumerate(split_families(meta.families, assignment)):
        data = MetaDataModule(meta, split, batch_size=settings.batch_size, seed=settings.seed + j)
        network, report = _fit_fold(meta, data, j, settings, checkpoint_folder, logger=make_logger(j))
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
    with torch.random.fork_rng(devices=[]), one_thread(), _quiet_lightning():
        torch.manual_seed(settings.seed * 1_000 + j)
        module = SurrogateModule(SurrogateNetwork(shape))
        best = ModelCheckpoint(
            folder / f"fold-{j}", monitor="validation_loss", filename="best", enable_version_counter=False
        )
        trainer = pl.Trainer(
            max_epochs=settings.max_epochs,
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
        trainer.fit(module, datamodule=data)
        state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
        module.load_state_dict(state)
        metrics = trainer.validate(module, datamodule=data, verbose=False)[0]
    network = module.network.cpu().eval()
    return network, FoldReport(j, trainer.current_epoch, {name: float(value) for name, value in metrics.items()})


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
