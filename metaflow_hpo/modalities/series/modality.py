"""Series with a class each: what was measured over time, of one or several channels."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.listed import ItemFile
from metaflow_hpo.modalities.items.modality import ItemModality
from metaflow_hpo.modalities.items.new_items import NewItems
from metaflow_hpo.modalities.items.sheets import draw_curves, make_sheet
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.modalities.series.arff_file import holds_series
from metaflow_hpo.modalities.series.meta_features import SERIES_GROUP
from metaflow_hpo.modalities.series.new_series import form_of, read_new_series, take_new_series
from metaflow_hpo.modalities.series.parts import find_pair
from metaflow_hpo.modalities.series.random_kernels import measure_features
from metaflow_hpo.modalities.series.reading import read_series
from metaflow_hpo.modalities.series.series import Series
from metaflow_hpo.modalities.series.series_arrays import holds_series_arrays
from metaflow_hpo.modalities.series.series_tables import names_steps
from metaflow_hpo.modalities.series.ucr_file import looks_like_ucr
from metaflow_hpo.task import SERIES

_HEAD_BYTES = 1_000_000
_HEAD_LINES = 2_000


class SeriesModality(ItemModality):
    """See `Modality`."""

    described_rows: ClassVar[int] = 400

    @property
    def name(self) -> str:
        """One word."""
        return SERIES

    @property
    def own_groups(self) -> tuple[MetaFeatureGroup, ...]:
        """What describes series alone."""
        return (SERIES_GROUP,)

    def recognises(self, source: Path) -> bool:
        """Tell by names and first lines whether a file, folder or zip holds series."""
        if source.is_dir():
            return find_pair(sorted(one.name for one in source.iterdir())) is not None
        tell = _TELLERS.get(source.suffix.lower())
        return tell is not None and source.is_file() and tell(source)

    def read(self, source: Path, hints: Hints) -> ItemData:
        """Read series as a task."""
        return read_series(source, hints)

    def to_arrays(self, items: Series) -> Mapping[str, NDArray[Any]]:
        """Return values and lengths, and how steps were averaged where they were."""
        averaged = {"block": np.array([items.block])} if items.block > 1 else {}
        return {"values": items.values, "lengths": items.lengths, **averaged}

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Series:
        """Return the series that `to_arrays` was given."""
        block = int(arrays["block"][0]) if "block" in arrays else 1
        return Series(arrays["values"], arrays["lengths"], block)

    def prepare_arrays(self, items: Series, fitted_on: Series) -> NDArray[np.float32]:
        """Return `(n, c, t)` as measured: NaN where a value is missing and after the end, for the learner to treat."""
        return items.values

    @property
    def endings(self) -> tuple[str, ...]:
        """None: a file holds many series."""
        return ()

    def form(self, data: ItemData) -> dict[str, Any]:
        """Return what new series must have in common with these."""
        return form_of(data.train_items, data.columns)

    def decode(self, files: Sequence[ItemFile], form: Mapping[str, Any]) -> Series:
        """Refuse: see `read_new`."""
        raise InvalidTaskError("Expected series as numbers; a file holds many of them.")

    def read_new(self, source: Path, form: Mapping[str, Any]) -> NewItems:
        """Read the series of a file as those of a task are read; classes need not be right."""
        values = read_new_series(source, form)
        return NewItems(tuple(map(str, range(len(values)))), values)

    def take_new(self, values: Sequence[Any], form: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return series that were sent as lists of numbers, `(channels, steps)` each."""
        return take_new_series(values, form)

    def show(self, data: ItemData) -> bytes:
        """Return curves by class."""
        return make_sheet(data, lambda position: draw_curves(data.items[np.array([position])].one(0)), side=128)

    def features(self, items: Series) -> NDArray[np.float32]:
        """Return what random kernels find."""
        return measure_features(items)


def _first_lines(source: Path) -> list[str]:
    """Return the first lines that are not blank, as far as they are text."""
    with source.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    lines = (line.strip() for line in head.decode("utf-8-sig", "replace").split("\n"))
    return list(islice((line for line in lines if line), _HEAD_LINES))


def _is_ts(source: Path) -> bool:
    """Tell a file of series, be it an empty one, from one of TypeScript or a film."""
    head = [line for line in _first_lines(source) if not line.startswith(("#", "%"))]
    return not head or head[0].startswith("@")


def _is_ucr(source: Path) -> bool:
    return looks_like_ucr(next(iter(_first_lines(source)), ""))


def _is_wide(source: Path) -> bool:
    line = next(iter(_first_lines(source)), "")
    separator = max(",;\t", key=line.count)
    return names_steps([name.strip().strip('"') for name in line.split(separator)])


def _holds_pair(source: Path) -> bool:
    try:
        with zipfile.ZipFile(source) as archive:
            return find_pair(sorted(archive.namelist())) is not None
    except (zipfile.BadZipFile, OSError):
        return False


_TELLERS: Mapping[str, Callable[[Path], bool]] = {
    ".ts": _is_ts,
    ".tsv": _is_ucr,
    ".txt": _is_ucr,
    ".csv": _is_wide,
    ".arff": lambda source: holds_series(_first_lines(source)),
    ".npz": holds_series_arrays,
    ".npy": holds_series_arrays,
    ".zip": _holds_pair,
}

SERIES_MODALITY = SeriesModality()
"""Series as a task."""
