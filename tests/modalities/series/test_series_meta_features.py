"""Meta-features of series: values computed by hand, and what they must not depend on."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.registry import describe, read_source
from metaflow_hpo.modalities.series.meta_features import FEATURES, SERIES_GROUP
from tests.modalities.series.own_series import draw_series, write_ts


def read(path: Path, series: list[NDArray[np.float32]], labels: list[str]) -> ItemData:
    data = read_source(write_ts(path, series, labels))
    assert isinstance(data, ItemData)
    return data


def measure(path: Path, series: list[NDArray[np.float32]], labels: list[str]) -> dict[str, float]:
    return dict(SERIES_GROUP.measure(read(path, series, labels)))


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Meta-features of sines with a period of 20 steps and two classes of opposite sign."""
    time = np.arange(100)
    rng = np.random.default_rng(0)
    signs = np.array([1, -1] * 30)
    series = [(s * np.sin(2 * np.pi * time / 20) + 0.02 * rng.normal(size=100)).astype(np.float32)[None] for s in signs]
    return measure(tmp_path_factory.mktemp("series") / "own.ts", series, [f"c{s}" for s in signs])


def test_sizes_are_those_of_the_training_items(waves: dict[str, float]) -> None:
    assert waves["log_steps"] == pytest.approx(2)
    assert waves["log_channels"] == 0
    assert waves["length_spread"] == 0
    assert waves["missing_fraction"] == 0


def test_a_sine_has_the_moments_and_the_period_of_a_sine(waves: dict[str, float]) -> None:
    assert waves["period"] == pytest.approx(0.2, abs=0.01)
    assert waves["seasonality"] == pytest.approx(0.8, abs=0.02)  # four periods of five overlap
    assert waves["autocorrelation_1"] == pytest.approx(math.cos(2 * math.pi / 20), abs=0.02)
    assert waves["kurtosis"] == pytest.approx(math.asinh(1.5 - 3), abs=0.02)
    assert waves["skewness"] == pytest.approx(0, abs=0.02)
    assert waves["roughness"] == pytest.approx(2 * math.sin(math.pi / 20), abs=0.02)
    assert waves["spectral_centroid"] == pytest.approx(5 / 50, abs=0.02)
    assert waves["stretch_above_mean"] == pytest.approx(0.1, abs=0.02)
    assert waves["outliers"] == 0


def test_opposite_classes_are_told_apart(waves: dict[str, float]) -> None:
    assert waves["nearest_neighbour"] == 1
    assert waves["nearest_neighbour_raw"] == 1
    assert waves["class_separation"] == pytest.approx(1, abs=0.01)


def test_noise_looks_like_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = measure(tmp_path / "own.ts", list(rng.normal(size=(100, 1, 200)).astype(np.float32)), ["a", "b"] * 50)
    assert found["autocorrelation_1"] == pytest.approx(0, abs=0.02)
    assert found["spectral_entropy"] > 0.85
    assert found["spectral_centroid"] == pytest.approx(0.5, abs=0.02)
    assert found["roughness"] == pytest.approx(math.sqrt(2), abs=0.02)
    assert found["low_power"] == pytest.approx(0.2, abs=0.02)
    assert found["nearest_neighbour"] == pytest.approx(0.5, abs=0.15)
    assert found["kurtosis"] == pytest.approx(0, abs=0.1)


def test_gaps_and_lengths_and_channels_are_counted(tmp_path: Path) -> None:
    waves, labels = draw_series(channels=2)
    waves[:, 1] = 2 * waves[:, 0]
    waves[:, 0, 5:9] = np.nan
    found = measure(tmp_path / "own.ts", [one[:, : 20 + 20 * (i % 2)] for i, one in enumerate(waves)], labels)
    lengths = np.array([20] * 24 + [40] * 24)
    assert found["length_spread"] == pytest.approx(lengths.std() / lengths.mean())
    assert found["missing_fraction"] == pytest.approx(4 / (2 * 30))
    assert found["log_channels"] == pytest.approx(math.log10(2))
    assert found["channel_correlation"] > 0.9


def test_test_items_names_and_order_play_no_role(tmp_path: Path) -> None:
    waves, labels = draw_series()
    one = read(tmp_path / "a.ts", list(waves), labels)
    expected = describe(one)
    order = np.random.default_rng(0).permutation(60)
    assert describe(read(tmp_path / "b.ts", [waves[i] for i in order], [labels[i] for i in order])) == expected
    one.items.values[one.is_test] = 1e6
    assert dict(SERIES_GROUP.measure(one)) == {name: expected[f"mf_series.{name}"] for name in FEATURES}


def test_series_of_hardly_any_steps_and_constant_ones_are_finite(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    series = [np.full((1, 3), value, np.float32) for value in rng.normal(size=30)]
    found = measure(tmp_path / "own.ts", series, ["a", "b", "c"] * 10)
    assert all(map(math.isfinite, found.values()))
