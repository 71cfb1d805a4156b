import subprocess
import sys

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.audio.meta_features import AUDIO_GROUP
from metaflow_hpo.modalities.audio.modality import AUDIO_MODALITY
from metaflow_hpo.modalities.audio.recordings import read_lines
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.testing import check_meta_features, check_modality
from tests.modalities.audio.sounds import sine
from tests.modalities.audio.test_wave_arrays import save


@pytest.fixture
def path(tmp_path):
    return save(tmp_path, y_part=None)


def read(path):
    return AUDIO_MODALITY.read(path, Hints())


def test_the_contract_of_modalities_is_kept(path):
    check_modality(AUDIO_MODALITY, path)


def test_the_contract_of_meta_features_is_kept(path):
    check_meta_features(AUDIO_GROUP, read(path))


def test_a_task_is_kept_and_comes_back(path, tmp_path):
    data = read(path)
    AUDIO_MODALITY.save(data, tmp_path / "task.audio")
    loaded = AUDIO_MODALITY.load(tmp_path / "task.audio")
    assert loaded.task == data.task
    assert loaded.items.rate == 8000
    for name in ("samples", "offsets", "scale"):
        np.testing.assert_array_equal(getattr(loaded.items, name), getattr(data.items, name))


def test_a_damaged_file_of_a_task_is_refused(path, tmp_path):
    AUDIO_MODALITY.save(read(path), tmp_path / "task.audio")
    content = bytearray((tmp_path / "task.audio").read_bytes())
    content[-1] ^= 1
    (tmp_path / "task.audio").write_bytes(content)
    with pytest.raises(InvalidTaskError, match=r"task\.audio"):
        AUDIO_MODALITY.load(tmp_path / "task.audio")


def test_learners_get_lines_of_the_items_of_a_split(path):
    data = read(path)
    split = AUDIO_MODALITY.split(data).validation[0]
    fold = AUDIO_MODALITY.prepare(data, split)
    recordings = read_lines(fold.x_valid)
    assert recordings.rate == 8000
    for line, length, position in zip(recordings.waves, recordings.lengths, split.valid, strict=True):
        np.testing.assert_array_equal(line[:length], data.items.wave(position))
    np.testing.assert_array_equal(fold.y_valid, data.target[split.valid])


def test_meta_features_are_those_of_what_is_heard(path, tmp_path):
    found = AUDIO_GROUP.measure(read(path))
    assert found["log_rate"] == pytest.approx(np.log(8000))
    assert found["log_duration"] == pytest.approx(np.log(0.2))
    assert found["duration_spread"] == pytest.approx(0, abs=1e-9)
    assert found["silence"] < 0.05
    # 300 and 1500 Hz lie at 402 and 1290 of 2146 mel: 0.19 and 0.60
    assert found["centroid"] == pytest.approx(0.39, abs=0.05)
    assert found["centroid_spread"] == pytest.approx(0.2, abs=0.05)
    noise = np.random.default_rng(0).normal(size=(24, 1600)).astype(np.float32) / 10
    (tmp_path / "noise").mkdir()
    other = AUDIO_GROUP.measure(read(save(tmp_path / "noise", wave=noise.ravel(), y_part=None)))
    assert other["flatness"] > 3 * found["flatness"]
    assert other["memory"] < found["memory"]


def test_meta_features_of_silence_and_of_single_samples_are_finite(tmp_path):
    waves = [np.zeros(n, np.float32) for n in range(1, 13)] + [sine(400, 0.001, 8000) * k for k in range(1, 13)]
    offset = np.concatenate([[0], np.cumsum([len(wave) for wave in waves])])
    data = read(save(tmp_path, wave=np.concatenate(waves), offset=offset, y_part=None, group=None))
    assert all(np.isfinite(list(AUDIO_GROUP.measure(data).values())))


def test_reading_and_describing_need_neither_torch_nor_scikit_learn(path):
    program = (
        "import sys; from pathlib import Path; from metaflow_hpo.modalities.registry import describe, read_source;"
        f"describe(read_source(Path({str(path)!r})));"
        "print(sorted({'torch', 'sklearn.ensemble', 'matplotlib', 'soundfile'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
