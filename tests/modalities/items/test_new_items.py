"""New items come to a network in the form of those that it was trained on."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.modality import Predicting, Showing
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.task import AUDIO, IMAGE, SERIES, TEXT


def as_png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", [IMAGE, AUDIO, TEXT, SERIES])
def test_every_modality_of_items_reads_new_ones_and_shows_its_tasks(name):
    assert isinstance(get_modality(name), Predicting)
    assert isinstance(get_modality(name), Showing)


def test_pictures_are_found_in_any_folder_and_brought_to_size_and_channels(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.png").write_bytes(as_png(np.full((8, 4, 3), (255, 0, 0), np.uint8)))
    (tmp_path / "a.png").write_bytes(as_png(np.full((2, 2), 51, np.uint8)))
    (tmp_path / "notes.txt").write_text("no picture")
    found = get_modality(IMAGE).read_new(tmp_path, {"size": [4, 4], "channels": 1})
    assert found.names == ("a.png", "deep/er/b.png")
    assert found.arrays.shape == (2, 1, 4, 4)
    np.testing.assert_allclose(found.arrays[0], 0.2, atol=1e-6)
    np.testing.assert_allclose(found.arrays[1], 76 / 255, atol=1e-6)  # .299 of pure red
    coloured = get_modality(IMAGE).read_new(tmp_path / "a.png", {"size": [2, 2], "channels": 3})
    assert coloured.names == ("a.png",)
    np.testing.assert_allclose(coloured.arrays, np.full((1, 3, 2, 2), 0.2), atol=1e-6)


def test_a_picture_of_a_request_is_the_same_as_that_of_its_file(tmp_path):
    content, form = as_png(np.arange(12, dtype=np.uint8).reshape(3, 4)), {"size": [3, 4], "channels": 1}
    (tmp_path / "a.png").write_bytes(content)
    sent = get_modality(IMAGE).take_new([base64.b64encode(content).decode()], form)
    np.testing.assert_array_equal(sent, get_modality(IMAGE).read_new(tmp_path, form).arrays)


@pytest.mark.parametrize("value", ["no base64!", None, 3])
def test_what_is_no_file_in_base64_is_refused(value):
    with pytest.raises(InvalidTaskError, match="Expected the bytes of a file in base64 as item 0; found"):
        get_modality(IMAGE).take_new([value], {"size": [2, 2], "channels": 1})


def test_a_folder_without_items_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InvalidTaskError, match=r"Expected files ending in \.png.* to predict.*; found 'notes.txt'"):
        get_modality(IMAGE).read_new(tmp_path, {"size": [2, 2], "channels": 1})


def test_texts_are_those_of_a_table_of_files_or_of_a_request(tmp_path):
    modality, form = get_modality(TEXT), {"target": "mood"}
    frame = pd.DataFrame({"id": [1, 2], "mood": ["good", "bad"], "review": ["so fine", "NA"]})
    frame.to_csv(tmp_path / "new.csv", index=False)
    found = modality.read_new(tmp_path / "new.csv", form)
    assert (found.names, found.arrays.tolist()) == (("0", "1"), ["so fine", "NA"])
    (tmp_path / "one.txt").write_text("a document")
    assert modality.read_new(tmp_path / "one.txt", form).arrays.tolist() == ["a document"]
    assert modality.take_new(["x", "y"], form).tolist() == ["x", "y"]


def test_series_of_a_request_are_lists_of_numbers_a_channel():
    modality, form = get_modality(SERIES), {"channels": 2, "block": 1}
    sent = modality.take_new([[[1, 2, 3], [4, 5, 6]], [[7, 8], [9, 1]]], form)
    np.testing.assert_array_equal(sent[1], np.array([[7, 8, np.nan], [9, 1, np.nan]], np.float32))
    with pytest.raises(InvalidTaskError, match=r"Expected series of 2 channels in the request.*; found 1"):
        modality.take_new([[1, 2, 3]], form)
    with pytest.raises(InvalidTaskError, match="a list of numbers a channel for each series"):
        modality.take_new([["a", "b"]], form)
