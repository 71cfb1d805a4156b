import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.audio.modality import AUDIO_MODALITY
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.registry import find_modality
from tests.modalities.audio.test_reading import RATE, check_tones, tone

NUMBERS = range(12)


def make(**changes):
    """Return the arrays of 24 tones in the format of a collection."""
    waves = [np.rint(32767 * tone(label, number)).astype(np.int16) for label in ("low", "high") for number in NUMBERS]
    arrays = {
        "wave": np.concatenate(waves),
        "offset": np.concatenate([[0], np.cumsum([len(wave) for wave in waves])]),
        "rate": np.int32(RATE),
        "y_pitch": np.repeat(np.array([1, 0], np.int16), len(NUMBERS)),
        "names_pitch": np.array(["high", "low"]),
        "y_part": np.array([-1, 0, 1] * 8, np.int16),
        "group": np.tile(np.arange(len(NUMBERS), dtype=np.int16), 2),
    }
    return {name: value for name, value in (arrays | changes).items() if value is not None}


def save(tmp_path, **changes):
    np.savez(tmp_path / "tones.npz", **make(**changes))
    return tmp_path / "tones.npz"


def read(path, **options):
    return AUDIO_MODALITY.read(path, Hints(options=options))


def test_a_key_says_which_classes(tmp_path):
    path = save(tmp_path)
    assert find_modality(path) is AUDIO_MODALITY
    data = read(path, key="pitch")
    assert (data.task.rows, data.class_names) == (24, ("high", "low"))
    check_tones(data)
    assert sorted(data.items.steps(i).samples.tobytes() for i in range(24)) == sorted(
        wave.tobytes() for wave in np.split(make()["wave"], make()["offset"][1:-1])
    )
    assert len(np.unique(data.groups)) == 12


def test_items_that_are_not_of_a_key_are_left_out(tmp_path):
    np.savez(tmp_path / "more.npz", **make(y_pitch=np.array([-1] * 2 + [1] * 10 + [0] * 12, np.int16)))
    data = read(tmp_path / "more.npz", key="pitch")
    assert data.task.rows == 22
    check_tones(data)


def test_recordings_may_be_one_a_row_and_of_floats(tmp_path):
    rows = np.stack([tone(label, number) for label in ("low", "high") for number in NUMBERS])
    np.savez(tmp_path / "rows.npz", audio=rows, labels=np.repeat(["low", "high"], len(NUMBERS)))
    data = read(tmp_path / "rows.npz", rate=RATE)
    check_tones(data)
    assert any(np.allclose(wave, rows[0], atol=2e-5) for wave in data.items.waves())


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_whole_numbers_of_other_widths_are_shares_of_full_scale(tmp_path, dtype):
    rows = np.stack([tone(label, number) for label in ("low", "high") for number in NUMBERS])
    steps = np.rint(rows * 127 + 128) if dtype is np.uint8 else np.rint(rows.astype(np.float64) * 2.0**31 * 0.99)
    np.savez(tmp_path / "rows.npz", wave=steps.astype(dtype), y=np.repeat([1, 0], len(NUMBERS)), rate=RATE)
    waves = list(read(tmp_path / "rows.npz").items.waves())
    assert max(np.abs(wave).max() for wave in waves) == pytest.approx(np.abs(rows).max(), abs=0.02)
    assert any(np.allclose(wave, rows[0], atol=0.02) for wave in waves)


def test_rates_above_16_khz_are_brought_down(tmp_path):
    data = read(save(tmp_path, rate=np.int32(32_000)), key="pitch")
    assert data.items.rate == 16_000
    assert data.items.lengths.tolist() == [800] * 24


def test_recordings_without_samples_are_left_out(tmp_path):
    offset = make()["offset"].copy()
    offset[1] = 0
    data = read(save(tmp_path, offset=offset), key="pitch")
    assert data.task.rows == 23
    assert "Left out 1 recordings without samples." in data.task.notes


def test_long_ones_are_cut(tmp_path):
    data = read(save(tmp_path), key="pitch", seconds=0.1)
    assert data.items.lengths.tolist() == [800] * 24
    assert any(note.startswith("Kept the first 0.1 seconds of 24 recordings") for note in data.task.notes)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {}, "several: 'pitch', 'part'"),
        ({}, {"key": "none"}, "the classes y_none"),
        ({"rate": None}, {"key": "pitch"}, "the rate of the recordings in tones.npz.* found none"),
        ({"rate": np.array([1, 2])}, {"key": "pitch"}, "the rate of the recordings"),
        ({"rate": np.array("fast")}, {"key": "pitch"}, "the rate of the recordings"),
        ({}, {"key": "pitch", "rate": 5}, "1000 to 768000 samples a second; found 5"),
        ({"offset": None}, {"key": "pitch"}, "offsets missing"),
        ({"offset": np.arange(25)}, {"key": "pitch"}, "`offset` that rises from 0"),
        ({"offset": make()["offset"][::-1]}, {"key": "pitch"}, "`offset` that rises from 0"),
        ({"offset": make()["offset"].astype(float)}, {"key": "pitch"}, "`offset` that rises from 0"),
        ({"offset": make()["offset"][[0, 5, 24]]}, {"key": "pitch"}, "found 2 recordings"),
        ({"wave": np.array(["a"] * 38_400)}, {"key": "pitch"}, "found waves <U1"),
        ({"wave": np.array([None] * 9)}, {"key": "pitch"}, r"tones\.npz"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path, changes, options, message):
    with pytest.raises(InvalidTaskError, match=message):
        read(save(tmp_path, **changes), **options)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + b"\0" * 50])
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "tones.npz").write_bytes(content)
    with pytest.raises(InvalidTaskError, match=r"tones\.npz"):
        read(tmp_path / "tones.npz", key="pitch")
