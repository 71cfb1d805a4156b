"""Meta-features of pictures say what is there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.meta_features import IMAGE_GROUP
from metaflow_hpo.modalities.image.patch_features import describe_patches
from metaflow_hpo.modalities.items.assembling import assemble, digest_of


def make(pixels):
    labels = [f"c{i % 2}" for i in range(len(pixels))]
    digests = [digest_of(bytes([i]), one.tobytes()) for i, one in enumerate(pixels)]
    return assemble(pixels, labels, digests, hints=Hints(), source=Path("a.npz"), modality="image")


def test_plain_pictures_have_no_contrast_and_no_detail():
    described = IMAGE_GROUP.measure(make(np.full((40, 16, 8, 1), 51, np.uint8)))
    assert (described["log_height"], described["log_width"], described["channels"]) == (4.0, 3.0, 1.0)
    assert described["brightness"] == pytest.approx(0.2)
    for name in ("contrast", "edge_energy", "colourfulness"):
        assert described[name] == pytest.approx(0.0, abs=1e-6)
    assert described["background"] == 1.0
    assert described["packed_bytes_per_pixel"] < 0.15


def test_stripes_have_the_edges_and_contrast_that_they_have():
    pixels = np.zeros((40, 8, 8, 1), np.uint8)
    pixels[:, ::2] = 255
    described = IMAGE_GROUP.measure(make(pixels))
    assert described["edge_energy"] == pytest.approx(1.0)
    assert described["contrast"] == pytest.approx(0.5)
    assert described["brightness"] == pytest.approx(0.5)


def test_colours_are_colourful_and_noise_is_flat_in_frequency():
    rng = np.random.default_rng(0)
    noise = IMAGE_GROUP.measure(make(rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)))
    assert abs(noise["spectral_slope"]) < 0.2
    assert noise["packed_bytes_per_pixel"] > 2.9
    red = np.zeros((40, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert IMAGE_GROUP.measure(make(red))["colourfulness"] == pytest.approx(0.3 * np.hypot(1, 0.5))


def test_test_items_are_not_looked_at():
    data = make(np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8))
    pixels = data.items.copy()
    pixels[data.is_test] = 0
    assert IMAGE_GROUP.measure(replace(data, items=pixels)) == IMAGE_GROUP.measure(data)


@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 30, 3), (64, 64, 3), (100, 40, 1), (5, 5, 1), (3, 200, 1)])
def test_features_are_finite_whatever_the_size_and_the_same_twice(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
    features = describe_patches(pixels)
    assert features.shape[0] == 30
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert np.array_equal(features, describe_patches(pixels))
    assert np.isfinite(describe_patches(np.zeros_like(pixels))).all()
