"""What modalities share whose tasks are items with a class each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.item_files import load_items, save_items
from metaflow_hpo.modalities.items.listed import ItemFile
from metaflow_hpo.modalities.items.new_items import NewItems, list_new, read_sent
from metaflow_hpo.modalities.items.probes import ITEM_GROUP
from metaflow_hpo.modalities.items.sample import sample_items
from metaflow_hpo.modalities.items.splits import split_items
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.modalities.modality import Fold, Split, Splits

FINGERPRINTS = 64
"""Digests by which relatives are found: the lowest ones, so that tasks with common items share them."""


class ItemModality(ABC):
    """A modality of items; see `Modality`, `ArrayModality`, `Sampling` and `Fingerprinting`, all of which it is."""

    described_rows: ClassVar[int] = 600
    """What ships was learned from samples of this size: a larger task is described by such a one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """One word."""

    @property
    @abstractmethod
    def own_groups(self) -> tuple[MetaFeatureGroup, ...]:
        """The groups of meta-features for these items alone."""

    @abstractmethod
    def recognises(self, source: Path) -> bool:
        """Tell, without reading much of it, whether a file or folder holds such a task."""

    @abstractmethod
    def read(self, source: Path, hints: Hints) -> ItemData:
        """Read a person's file or folder; its end is `assemble`."""

    @abstractmethod
    def to_arrays(self, items: Any) -> Mapping[str, NDArray[Any]]:
        """Return items as arrays by name, none of type object."""

    @abstractmethod
    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Any:
        """Return the items that `to_arrays` was given."""

    @abstractmethod
    def prepare_arrays(self, items: Any, fitted_on: Any) -> NDArray[Any]:
        """Return items as a learner takes them, `(n, ...)`.

        Args:
            items: What is returned.
            fitted_on: The training items, the only ones from which anything may be learned for it.
        """

    @abstractmethod
    def features(self, items: Any) -> NDArray[np.float32]:
        """Return features of items that cost little and are learned from nothing, `(n, d)`, for probes."""

    @property
    @abstractmethod
    def endings(self) -> tuple[str, ...]:
        """Endings of files that hold one item each, lower case with a dot."""

    @abstractmethod
    def decode(self, files: Sequence[ItemFile], form: Mapping[str, Any]) -> Any:
        """Return the items of files in the form of those of a task, see `form`."""

    @abstractmethod
    def form(self, data: ItemData) -> dict[str, Any]:
        """Return what says of a task how its items look, JSON-ready."""

    def read_new(self, source: Path, form: Mapping[str, Any]) -> NewItems:
        """Read new items: a file, or all files of a folder or zip."""
        files = list_new(source, self.endings)
        items = self.decode(files, form)
        return NewItems(tuple(file.name for file in files), self.prepare_arrays(items, items))

    def take_new(self, values: Sequence[Any], form: Mapping[str, Any]) -> NDArray[Any]:
        """Return items that were sent as files in base64."""
        items = self.decode(read_sent(values), form)
        return self.prepare_arrays(items, items)

    @property
    def meta_features(self) -> tuple[MetaFeatureGroup, ...]:
        """The groups that come with it."""
        return (ITEM_GROUP, *self.own_groups)

    def split(self, data: ItemData, seed: int = 0) -> Splits:
        """Return the splits for validation, and that of the test items."""
        return split_items(data, seed)

    def prepare(self, data: ItemData, split: Split, number: int = 0) -> Fold:
        """Make arrays of a split."""
        train, valid = data.items[split.train], data.items[split.valid]
        return Fold(
            self.prepare_arrays(train, train),
            data.target[split.train],
            self.prepare_arrays(valid, train),
            data.target[split.valid],
            data.task.classes,
            number=number,
        )

    def save(self, data: ItemData, path: Path) -> None:
        """Write a task as one file."""
        save_items(path, data, self.to_arrays(data.items), {"columns": dict(data.columns)} if data.columns else None)

    def load(self, path: Path) -> ItemData:
        """Read what `save` wrote."""
        fields, arrays, described = load_items(path)
        return ItemData(items=self.from_arrays(arrays), columns=described.get("columns", {}), **fields)

    def sample(self, data: ItemData, max_rows: int) -> ItemData:
        """Return a sample of the items."""
        return sample_items(data, max_rows)

    def fingerprint(self, data: ItemData) -> frozenset[str]:
        """Return digests of some items."""
        return frozenset(one.tobytes().hex() for one in data.digests[:FINGERPRINTS])
