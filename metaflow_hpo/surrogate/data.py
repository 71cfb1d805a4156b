"""The Lightning data modules: meta-train and meta-validation rows of one family split."""

from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, RandomSampler, Sampler, TensorDataset

from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.surrogate.splits import FamilySplit
from metaflow_hpo.surrogate.targets import Rows, Standardiser, make_rows, make_task_rows

REPLAYED_FRACTION = 0.25
"""Part of the rows of known tasks that an epoch of an incremental fit goes through, beside all rows of new tasks."""


class MetaDataModule(pl.LightningDataModule):
    """Serves rows of (task, configuration).

    The standardiser is fitted on the meta-train tasks alone, unless the one of a network that is trained on is given.
    """

    def __init__(
        self,
        meta: History,
        split: FamilySplit,
        *,
        batch_size: int = 512,
        seed: int = 0,
        standardiser: Standardiser | None = None,
        new_tasks: IntArray | None = None,
    ) -> None:
        """Lay out the rows.

        Args:
            meta: Trials of all tasks.
            split: Positions of the tasks in its parts.
            batch_size: Rows a step.
            seed: Seed of the order of rows.
            standardiser: Of the network that is trained on; fitted here unless given.
            new_tasks: Positions of the tasks that the network does not know; all are new unless given.
        """
        super().__init__()
        train = meta.subset(split.train)
        gaps = np.flatnonzero(np.isnan(meta.meta_features).any(axis=0))
        self.standardiser = Standardiser.fit(train.meta_features, gaps) if standardiser is None else standardiser
        train_rows = make_rows(train, self.standardiser)
        self.train_rows = _to_tensors(train_rows)
        self.validation_rows = _to_tensors(make_rows(meta.subset(split.validation), self.standardiser))
        self.new_rows = None if new_tasks is None else _rows_of(train_rows, np.isin(split.train, new_tasks))
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Shuffled mini-batches of meta-train rows."""
        generator = torch.Generator().manual_seed(self.seed)
        order: Sampler[int] = (
            RandomSampler(self.train_rows, generator=generator)
            if self.new_rows is None
            else ReplaySampler(self.new_rows, generator)
        )
        return _in_batches(self.train_rows, order, self.batch_size)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """All meta-validation rows in one batch."""
        return _all_at_once(self.validation_rows)


class TaskDataModule(pl.LightningDataModule):
    """Serves tasks, for the network of their ends."""

    def __init__(
        self, meta: History, split: FamilySplit, standardiser: Standardiser, *, batch_size: int = 128, seed: int = 0
    ) -> None:
        """Lay out the tasks.

        Args:
            meta: Trials of all tasks.
            split: Positions of the tasks in its parts.
            standardiser: Fitted on meta-train tasks.
            batch_size: Tasks a step.
            seed: Seed of their order.
        """
        super().__init__()
        rows = [make_task_rows(meta.subset(part), standardiser) for part in (split.train, split.validation)]
        self.train_rows, self.validation_rows = (_as_dataset(r.meta_features, r.anchors, r.ends) for r in rows)
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Shuffled mini-batches of meta-train tasks."""
        order = RandomSampler(self.train_rows, generator=torch.Generator().manual_seed(self.seed))
        return _in_batches(self.train_rows, order, self.batch_size)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """All meta-validation tasks in one batch."""
        return _all_at_once(self.validation_rows)


class ReplaySampler(Sampler[int]):
    """Draws all rows of new tasks and a fresh part of those of known ones, so that nothing known is forgotten."""

    def __init__(self, is_new: torch.Tensor, generator: torch.Generator) -> None:
        """Take `(N,)` whether each row is of a new task."""
        self.new, self.known = torch.nonzero(is_new).flatten(), torch.nonzero(~is_new).flatten()
        self.replayed = round(REPLAYED_FRACTION * len(self.known))
        self.generator = generator

    def __len__(self) -> int:
        """Return the number of rows an epoch."""
        return len(self.new) + self.replayed

    def __iter__(self) -> Iterator[int]:
        """Yield the positions of an epoch's rows."""
        drawn = torch.randperm(len(self.known), generator=self.generator)[: self.replayed]
        rows = torch.cat([self.new, self.known[drawn]])
        yield from rows[torch.randperm(len(rows), generator=self.generator)].tolist()


def _in_batches(rows: TensorDataset, order: Sampler[int], size: int) -> DataLoader[tuple[torch.Tensor, ...]]:
    sampler = torch.utils.data.BatchSampler(order, batch_size=size, drop_last=False)
    # A batch of indices at once: the default collation of single rows costs more than the training step.
    return DataLoader(rows, sampler=sampler, batch_size=None)


def _all_at_once(rows: TensorDataset) -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(rows, batch_size=None, sampler=[list(range(len(rows)))])


def _rows_of(rows: Rows, tasks: NDArray[np.bool_]) -> torch.Tensor:
    """Return `(N,)` whether each row is of one of the marked tasks, `(T,)`."""
    return torch.from_numpy(tasks[rows.task.astype(np.int64)])


def _to_tensors(rows: Rows) -> TensorDataset:
    return _as_dataset(rows.task, rows.meta_features, rows.encoded, rows.score, rows.position)


def _as_dataset(*arrays: Array) -> TensorDataset:
    return TensorDataset(*(torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in arrays))
