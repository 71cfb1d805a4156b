"""The Lightning data module: meta-train and meta-validation rows of one family split."""

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from metaflow_hpo.surrogate.meta_dataset import MetaDataset
from metaflow_hpo.surrogate.splits import FamilySplit
from metaflow_hpo.surrogate.targets import Rows, Standardiser, make_rows


class MetaDataModule(pl.LightningDataModule):
    """Serves rows of (task, configuration); the standardiser is fitted on the meta-train tasks alone."""

    def __init__(self, meta: MetaDataset, split: FamilySplit, *, batch_size: int = 512, seed: int = 0) -> None:
        super().__init__()
        train = meta.subset(split.train)
        self.standardiser = Standardiser.fit(train.meta_features)
        self.train_rows = _to_tensors(make_rows(train, self.standardiser))
        self.validation_rows = _to_tensors(make_rows(meta.subset(split.validation), self.standardiser))
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Shuffled mini-batches of meta-train rows."""
        sampler = torch.utils.data.BatchSampler(
            torch.utils.data.RandomSampler(self.train_rows, generator=torch.Generator().manual_seed(self.seed)),
            batch_size=self.batch_size,
            drop_last=False,
        )
        # A batch of indices at once: the default collation of single rows costs more than the training step.
        return DataLoader(self.train_rows, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """All meta-validation rows in one batch."""
        return DataLoader(self.validation_rows, batch_size=None, sampler=[list(range(len(self.validation_rows)))])


def _to_tensors(rows: Rows) -> TensorDataset:
    arrays = (rows.task, rows.meta_features, rows.encoded, rows.score, rows.position, rows.worst, rows.best)
    return TensorDataset(*(torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in arrays))
