"""Images keep the contract of modalities, from files and from arrays."""

import numpy as np
import pytest
from PIL import Image

from metaflow_hpo.modalities.image.modality import IMAGE_MODALITY
from metaflow_hpo.modalities.registry import find_modality, read_source
from metaflow_hpo.testing import check_modality


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 120)):
        (tmp_path / "tones" / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(low, low + 130, (12, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tones" / label / f"{i}.png")
    return tmp_path / "tones"


def test_pictures_in_folders_keep_the_contract(folder):
    check_modality(IMAGE_MODALITY, folder)


def test_pictures_in_arrays_keep_the_contract(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez(tmp_path / "a.npz", X=(rng.random((60, 9, 9)) * (y[:, None, None] + 1) * 80).astype(np.uint8), y=y)
    check_modality(IMAGE_MODALITY, tmp_path / "a.npz")


def test_a_folder_of_pictures_is_found_to_be_of_images(folder):
    assert find_modality(folder) is IMAGE_MODALITY
    data = read_source(folder)
    assert (data.task.modality, data.task.rows, data.task.classes) == ("image", 40, 2)
    assert data.class_names == ("dark", "light")


def test_prepared_pictures_have_channels_first_and_are_in_0_to_1(folder):
    data = read_source(folder)
    fold = IMAGE_MODALITY.prepare(data, IMAGE_MODALITY.split(data).test)
    assert fold.x_train.shape == (32, 3, 12, 10)
    assert fold.x_train.dtype == np.float32
    assert np.array_equal(fold.x_valid, data.test_items.transpose(0, 3, 1, 2) / np.float32(255))
    assert np.array_equal(fold.y_valid, data.test_target)


@pytest.mark.parametrize(
    ("x", "known"),
    [
        (np.zeros((40, 6, 6), np.uint8), True),
        (np.zeros((40, 6, 5), np.uint8), True),
        (np.zeros((40, 6, 6, 3), np.float32), True),
        (np.zeros((40, 1, 6, 6), np.float64), True),
        (np.zeros((40, 3, 100), np.float32), False),
        (np.zeros((40, 36)), False),
        (np.zeros((40, 6, 6, 7)), False),
    ],
)
def test_arrays_are_recognised_by_their_shape(tmp_path, x, known):
    np.savez(tmp_path / "a.npz", X=x, y=np.arange(40) % 2)
    assert IMAGE_MODALITY.recognises(tmp_path / "a.npz") is known
