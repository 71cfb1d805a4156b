"""Pictures with a class each; see `ItemModality`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.array_pictures import is_picture_shape
from metaflow_hpo.modalities.image.meta_features import IMAGE_GROUP
from metaflow_hpo.modalities.image.patch_features import describe_patches
from metaflow_hpo.modalities.image.pictures import SUFFIXES
from metaflow_hpo.modalities.image.reading import ARRAY_ENDINGS, read_images
from metaflow_hpo.modalities.items.arrays import ITEM_NAMES, shapes_of
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.modality import ItemModality
from metaflow_hpo.modalities.items.sources import holds_items
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.task import IMAGE


class ImageModality(ItemModality):
    """Pictures as arrays `(n, h, w, c)` of 8 bits, c being 1 (grey) or 3 (RGB)."""

    @property
    def name(self) -> str:
        """One word."""
        return IMAGE

    @property
    def own_groups(self) -> tuple[MetaFeatureGroup, ...]:
        """The groups for pictures alone."""
        return (IMAGE_GROUP,)

    def recognises(self, source: Path) -> bool:
        """Tell whether a file or folder holds pictures, by the names of files or the shape of an array."""
        if source.suffix.lower() not in ARRAY_ENDINGS:
            return holds_items(source, SUFFIXES)
        if not source.is_file():
            return False
        shapes = {name.lower().removesuffix("_train"): shape for name, shape in shapes_of(source).items()}
        found = next((shapes[name] for name in ITEM_NAMES if name in shapes), None)
        return found is not None and is_picture_shape(*found)

    def read(self, source: Path, hints: Hints) -> ItemData:
        """Read a person's pictures as a task."""
        return read_images(source, hints)

    def to_arrays(self, items: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """Return pictures as arrays by name."""
        return {"pixels": items}

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return the pictures of arrays."""
        return arrays["pixels"]

    def prepare_arrays(self, items: NDArray[np.uint8], fitted_on: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return pictures as `(n, c, h, w)` in [0, 1]; nothing is learned for that."""
        return np.ascontiguousarray(items.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)

    def features(self, items: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the answers of random patches, `(n, d)`."""
        return describe_patches(items)


IMAGE_MODALITY = ImageModality()
