"""What people see of a task: training items by class."""

import io

import numpy as np
import pytest
from PIL import Image

from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.sheets import choose_shown, draw_curves, draw_spectrogram, make_sheet
from metaflow_hpo.task import Task


def make_data(items, target, is_test, names):
    task = Task(
        task_id="t",
        family="t",
        modality="image",
        metric=Metric.read("accuracy"),
        licence="CC0",
        source="test",
        sha256="0" * 64,
        rows=len(items),
        test_rows=int(np.sum(is_test)),
        classes=len(names),
    )
    digests = np.zeros((len(items), 32), np.uint8)
    return ItemData(task, items, np.array(target), np.array(is_test, bool), names, digests)


@pytest.fixture
def data():
    items = np.full((6, 4, 8), 10, np.uint8)
    items[4:] = 200
    return make_data(items, [0, 0, 0, 0, 1, 1], [1, 0, 0, 0, 0, 1], ("dark", "light"))


def test_training_items_are_shown_by_class_the_most_frequent_first(data):
    assert choose_shown(data) == [("dark", [1, 2, 3]), ("light", [4])]


def test_a_sheet_has_a_row_a_class_and_pictures_keep_their_shape(data):
    sheet = Image.open(io.BytesIO(make_sheet(data, lambda position: data.items[position], side=16)))
    pixels = np.asarray(sheet.convert("L"))
    # Places are 16 x 8 pixels, 4 apart; names stand in 120 pixels before them.
    assert pixels.shape == (4 + 2 * 12, 120 + 8 * 20)
    assert (pixels[4:12, 120:136] == 10).all()
    assert (pixels[16:24, 120:136] == 200).all()
    assert (pixels[4:12, 136:140] == 255).all()
    assert (pixels[16:24, 140:] == 255).all()


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right():
    picture = draw_curves(np.arange(8, dtype=np.float32)[None, :], height=8, width=8)
    assert [int(np.flatnonzero(picture[:, x] < 255)[0]) for x in range(8)] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert (draw_curves(np.full((1, 8), np.nan, np.float32)) == 255).all()


def test_a_tone_is_dark_at_its_height_and_nowhere_else():
    rate, window = 8000, 256
    tone = np.sin(2 * np.pi * 2000 * np.arange(rate) / rate).astype(np.float32)
    picture = draw_spectrogram(tone, width=10)
    darkest = np.argmin(picture.mean(axis=1))
    # 2,000 Hz is the 64th of the 128 bands below 4,000 Hz; two bands a row, the lowest at the bottom.
    assert picture.shape == (window // 4, 10)
    assert abs(int(darkest) - (63 - 32)) <= 1
    assert picture[darkest].max() < 60
    assert picture[:20].min() == 255
