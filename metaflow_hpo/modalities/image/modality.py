"""Pictures with a class each; see `ItemModality`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.array_pictures import is_picture_shape
from metaflow_hpo.modalities.image.meta_features import IMAGE_GROUP
from metaflow_hpo.modalities.image.patch_features import describe_patches
from metaflow_hpo.modalities.image.pictures import SUFFIXES, decode_picture
from metaflow_hpo.modalities.image.reading import ARRAY_ENDINGS, read_images
from metaflow_hpo.modalities.items.arrays import ITEM_NAMES, shapes_of
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.listed import ItemFile
from metaflow_hpo.modalities.items.modality import ItemModality
from metaflow_hpo.modalities.items.sheets import make_sheet
from metaflow_hpo.modalities.items.sources import holds_items
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.task import IMAGE

_LUMA = np.array([0.299, 0.587, 0.114])
"""What the channels of a colour add to how bright it is (ITU-R BT.601), as Pillow has it."""


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

    @property
    def endings(self) -> tuple[str, ...]:
        """Of pictures."""
        return SUFFIXES

    def form(self, data: ItemData) -> dict[str, Any]:
        """Return height, width and channels."""
        _, height, width, channels = data.items[np.arange(0)].shape
        return {"size": [height, width], "channels": channels}

    def decode(self, files: Sequence[ItemFile], form: Mapping[str, Any]) -> NDArray[np.uint8]:
        """Return pictures of that size, in colour or grey."""
        height, width = form["size"]
        pictures = [decode_picture(file, (height, width)).pixels for file in files]
        return np.stack([_with_channels(picture, form["channels"]) for picture in pictures])

    def show(self, data: ItemData) -> bytes:
        """Return a contact sheet of pictures by class."""
        return make_sheet(data, lambda position: _as_shown(data.items[np.array([position])][0]))

    def features(self, items: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the answers of random patches, `(n, d)`."""
        return describe_patches(items)


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if pixels.shape[2] > channels:
        return np.asarray(np.rint(pixels @ _LUMA)[..., None], dtype=np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], channels))


def _as_shown(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


IMAGE_MODALITY = ImageModality()
