"""The modality `series` keeps the contract of modalities."""

from pathlib import Path

import numpy as np

from metaflow_hpo.modalities.series.modality import SERIES_MODALITY
from metaflow_hpo.testing import check_modality
from tests.modalities.series.own_series import draw_series, write_ts


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    waves, labels = draw_series(channels=2)
    check_modality(SERIES_MODALITY, write_ts(tmp_path / "own.ts", list(waves), labels))


def test_prepared_series_are_as_measured(tmp_path: Path) -> None:
    waves, labels = draw_series()
    series = [one[:, : 20 + i % 21] for i, one in enumerate(waves)]
    data = SERIES_MODALITY.read(write_ts(tmp_path / "own.ts", series, labels), _no_hints())
    fold = SERIES_MODALITY.prepare(data, SERIES_MODALITY.split(data).test)
    assert fold.x_train.shape == (48, 1, 40)
    assert fold.x_train.dtype == np.float32
    places = {one.tobytes(): label for one, label in zip(series, labels, strict=True)}
    for x, y in zip(fold.x_train, fold.y_train, strict=True):
        measured = np.ascontiguousarray(x[:, ~np.isnan(x[0])])
        assert data.class_names[y] == places[measured.tobytes()]


def _no_hints():
    from metaflow_hpo.modalities.hints import Hints

    return Hints()
