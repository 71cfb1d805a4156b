import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import soundfile

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.audio.modality import AUDIO_MODALITY
from metaflow_hpo.modalities.audio.reading import SECONDS
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.registry import find_modality, read_source
from tests.modalities.audio.sounds import pitch_of, sine, written

CLASSES = {"low": 300, "high": 1500}
RATE = 8000


def tone(label, number, rate=RATE, seconds=0.2):
    """Return a sound whose height tells the class, with a noise of its own that tells it from others."""
    rng = np.random.default_rng([CLASSES[label], number])
    shape = np.interp(np.linspace(0, 1, int(seconds * rate)), np.linspace(0, 1, 5), 10 ** rng.uniform(-1, 0, 5))
    wave = sine(CLASSES[label], seconds, rate) * shape + 0.02 * rng.normal(size=int(seconds * rate))
    return wave.astype(np.float32)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "tones"
    for label in CLASSES:
        for number in range(15):
            write(folder / label / f"{number}.wav", written(tone(label, number), RATE))
    return folder


@pytest.fixture
def tones(made, tmp_path):
    return shutil.copytree(made, tmp_path / "tones")


def read(source, **hints):
    return AUDIO_MODALITY.read(source, Hints(**hints))


def check_tones(data, rate=RATE):
    """Check by its sound that each recording has its class."""
    assert data.items.rate == rate
    for wave, label in zip(data.items.waves(), data.target, strict=True):
        assert pitch_of(wave, rate) == pytest.approx(CLASSES[data.class_names[label]], abs=12)


def test_a_folder_a_class_is_a_task(tones):
    data = read_source(tones)
    assert (data.task.modality, data.task.rows, data.task.classes, data.task.kind) == ("audio", 30, 2, "binary")
    assert data.class_names == ("high", "low")
    check_tones(data)
    expected = np.rint(tone("low", 0) * 32767)
    assert any(
        len(s.samples) == 1600 and np.abs(s.samples - expected).max() <= 2 for s in map(data.items.steps, range(30))
    )


def test_neither_names_nor_formats_nor_their_order_change_the_task(tones, tmp_path):
    expected = read(tones, task_id="t")
    for number, path in enumerate(sorted(tones.rglob("*.wav"))):
        samples, _ = soundfile.read(path, dtype="int16")
        write(tmp_path / "again" / path.parent.name / f"x{90 - number}.flac", written(samples, RATE, "FLAC"))
    again = read(tmp_path / "again", task_id="t")
    assert again.task.sha256 == expected.task.sha256
    np.testing.assert_array_equal(again.items.samples, expected.items.samples)


def test_a_zip_and_a_table_of_paths_are_the_same_task(tones, tmp_path):
    expected = read(tones, task_id="t")
    with zipfile.ZipFile(tmp_path / "tones.zip", "w") as archive:
        for path in tones.rglob("*.wav"):
            archive.write(path, path.relative_to(tones.parent))
    assert read(tmp_path / "tones.zip", task_id="t").task.sha256 == expected.task.sha256
    paths = sorted(tones.rglob("*.wav"))
    rows = {"file": [str(p.relative_to(tmp_path)) for p in paths], "pitch": [p.parent.name for p in paths]}
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    assert find_modality(tmp_path / "list.csv") is AUDIO_MODALITY
    listed = read(tmp_path / "list.csv", task_id="t")
    assert (listed.task.sha256, listed.task.target) == (expected.task.sha256, "pitch")


def test_a_speaker_is_on_one_side_of_every_split(tones, tmp_path):
    paths = sorted(tones.rglob("*.wav"))
    rows = {
        "path": [str(p.relative_to(tmp_path)) for p in paths],
        "label": [p.parent.name for p in paths],
        "speaker": [f"s{int(p.stem) % 6}" for p in paths],
    }
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    data = read(tmp_path / "list.csv")
    assert len(np.unique(data.groups)) == 6
    assert not set(data.groups[data.is_test]) & set(data.groups[~data.is_test])
    for split in AUDIO_MODALITY.split(data).validation:
        assert not set(data.groups[split.train]) & set(data.groups[split.valid])


def test_mixed_rates_become_that_of_most(tones):
    for number in range(4):
        write(tones / "low" / f"other{number}.wav", written(tone("low", 20 + number, 44_100), 44_100))
    data = read(tones)
    assert data.task.rows == 34
    check_tones(data)
    assert "Brought 4 recordings from 16000 to 8000 samples a second." in data.task.notes


def test_channels_widths_and_formats_may_be_mixed(tones):
    stereo = np.column_stack([tone("low", 31), tone("low", 31)])
    write(tones / "low" / "stereo.wav", written(stereo, RATE))
    write(tones / "low" / "eight.wav", written(tone("low", 32), RATE, "WAV", "PCM_U8"))
    write(tones / "high" / "float.wav", written(tone("high", 33), RATE, "WAV", "DOUBLE"))
    write(tones / "high" / "vorbis.ogg", written(tone("high", 34), RATE, "OGG", "VORBIS"))
    write(tones / "high" / "called.wav", written(tone("high", 35), RATE, "MP3", "MPEG_LAYER_III"))
    data = read(tones)
    assert data.task.rows == 35
    check_tones(data)


@pytest.mark.parametrize(
    "content", [b"", b"no sound", written(tone("low", 0), RATE)[:30]], ids=["empty", "text", "cut"]
)
def test_one_file_that_is_no_recording_is_left_out_and_named(tones, content):
    write(tones / "low" / "broken.wav", content)
    data = read(tones)
    assert data.task.rows == 30
    assert any("low/broken.wav" in note for note in data.task.notes)


def test_several_files_that_are_no_recordings_are_refused_by_name(tones):
    for number in range(3):
        write(tones / "low" / f"broken{number}.wav", b"text")
    with pytest.raises(InvalidTaskError, match=r"broken0\.wav.*3 cannot be read"):
        read(tones)


def test_long_recordings_are_cut_and_it_is_said(tones):
    write(tones / "low" / "long.wav", written(tone("low", 40, seconds=SECONDS + 1), RATE))
    data = read(tones)
    assert data.items.durations_s.max() == SECONDS
    assert any(note.startswith("Kept the first 4 seconds of 1 recordings") for note in data.task.notes)
    assert read(tones, options={"seconds": 0.1}).items.durations_s.max() == pytest.approx(0.1)


def test_what_is_no_number_is_said(tones):
    wave = tone("low", 41)
    wave[:3] = np.nan
    write(tones / "low" / "nan.wav", written(wave, RATE, "WAV", "FLOAT"))
    assert any("'low/nan.wav'" in note for note in read(tones).task.notes)


def test_copies_are_dropped_and_those_of_two_classes_are_too(tones):
    shutil.copy(tones / "low" / "0.wav", tones / "low" / "copy.wav")
    shutil.copy(tones / "low" / "1.wav", tones / "high" / "copy.wav")
    data = read(tones)
    assert data.task.rows == 29
    assert "Dropped 1 exact copies of other items." in data.task.notes
    assert "Dropped 2 items whose content occurs with different classes." in data.task.notes


def test_a_quieter_copy_stays_on_the_side_of_its_original(tones):
    for number in range(15):
        write(tones / "low" / f"quiet{number}.wav", written(0.4 * tone("low", number), RATE))
    data = read(tones)
    assert data.task.rows == 45
    assert np.bincount(data.groups).tolist().count(2) == 15
    assert not set(data.groups[data.is_test]) & set(data.groups[~data.is_test])


def test_silence_is_a_recording(tones):
    write(tones / "low" / "silent.wav", written(np.zeros(800, np.float32), RATE))
    data = read(tones)
    assert data.task.rows == 31
    assert np.isfinite(AUDIO_MODALITY.features(data.items)).all()


def test_a_class_with_one_recording_is_learned_from_only(tones):
    write(tones / "odd" / "1.wav", written(sine(3000, 0.2, RATE), RATE))
    data = read(tones)
    assert not data.is_test[data.target == data.class_names.index("odd")].any()
    assert any("'odd'" in note for note in data.task.notes)


def test_one_recording_alone_is_refused(tones):
    with pytest.raises(InvalidTaskError, match=r"many recordings with a class each; 0\.wav is one"):
        read_source(tones / "low" / "0.wav")


def _remove_class(tones):
    shutil.rmtree(tones / "low")
    for number in range(15, 25):
        write(tones / "high" / f"{number}.wav", written(tone("high", number), RATE))


def _keep_two(tones):
    for path in list(tones.rglob("*.wav")):
        if path.stem != "0":
            path.unlink()


def _flatten(tones):
    for path in list(tones.rglob("*.wav")):
        path.rename(tones / f"{path.parent.name}{path.name}")


def _rename(tones):
    for path in list(tones.rglob("*.wav")):
        path.rename(path.with_suffix(".xyz"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_remove_class, "at least 2 classes in tones; all 25 are 'high'"),
        (_keep_two, "at least 20 different items.* found 2"),
        (_flatten, "a folder for each class in tones; found 30 files without one"),
        (_rename, r"ending in \.wav, .* in tones; found 30 with \.xyz"),
        (shutil.rmtree, "tones"),
    ],
    ids=["one class", "two items", "no folders", "other endings", "nothing there"],
)
def test_what_is_no_task_is_refused(tones, change, message):
    change(tones)
    with pytest.raises(InvalidTaskError, match=message):
        read(tones)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"second": 2}, "Expected only the options seconds"),
        ({"seconds": 0}, "the option seconds as 0.05 to 60.0; got 0"),
        ({"seconds": "two"}, "got 'two'"),
        ({"seconds": True}, "got True"),
        ({"seconds": float("nan")}, "got nan"),
    ],
)
def test_wrong_options_are_refused(tones, options, message):
    with pytest.raises(InvalidTaskError, match=message):
        read(tones, options=options)
