"""How both networks are trained with Lightning: to the best epoch on meta-validation families, reproducibly, silently.

The one thing to know: what is kept is the best epoch, not the last.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from metaflow_hpo.learners.threads import single_threaded_torch


def make_trainer(
    max_epochs: int,
    patience: int,
    accelerator: str,
    folder: Path,
    logger: Logger | None,
    *,
    monitor: str = "validation_loss",
) -> pl.Trainer:
    """Return a trainer that stops early.

    Args:
        max_epochs: Upper limit.
        patience: Epochs without a better `monitor` before it stops.
        accelerator: Lightning's accelerator.
        folder: Where the best weights are kept while it trains.
        logger: Of the learning curves, or None.
        monitor: The metric that decides, lower is better.
    """
    return pl.Trainer(
        max_epochs=max_epochs,
        accelerator=accelerator,
        devices=1,
        logger=logger or False,
        callbacks=[
            ModelCheckpoint(folder, monitor=monitor, filename=monitor, enable_version_counter=False),
            EarlyStopping(monitor, patience=patience),
        ],
        gradient_clip_val=1.0,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=True,
        log_every_n_steps=1,
    )


def train_to_best(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule) -> dict[str, float]:
    """Train, go back to the best epoch, and return its metrics."""
    trainer.fit(module, datamodule=data)
    kept = next(callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
    module.load_state_dict(torch.load(kept.best_model_path, weights_only=True)["state_dict"])
    return validate(trainer, module, data)


def validate(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule) -> dict[str, float]:
    """Return the metrics on meta-validation families."""
    metrics = trainer.validate(module, datamodule=data, verbose=False)[0]
    return {name: float(value) for name, value in metrics.items()}


@contextmanager
def reproducible(seed: int, j: int) -> Iterator[None]:
    """Seed fold `j`, on one thread, and leave the global generators alone."""
    with torch.random.fork_rng(devices=[]), single_threaded_torch(), _quiet_lightning():
        torch.manual_seed(seed * 1_000 + j)
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
