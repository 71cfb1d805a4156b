"""What ships answers for data of every modality, right after installing."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from metaflow_hpo.cli import app


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    return tmp_path


def write_pictures(folder):
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:200], digits.target[:200], strict=True)):
        path = folder / "digits" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).save(path)
    return folder / "digits"


def write_sentences(folder):
    words = ["good", "fine", "nice", "poor", "sad", "bad"]
    rows = [f"the {words[i % 6]} thing {i % 11} is {words[(i * 5) % 6]} {i},{'ab'[i % 6 > 2]}" for i in range(240)]
    path = folder / "sentences.csv"
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def write_recordings(folder):
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    for number in range(90):
        label = number % 3
        time_s = np.arange(3200) / 8000
        wave = np.sin(2 * np.pi * (300 + 250 * label + rng.normal(0, 20)) * time_s) + rng.normal(0, 0.3, 3200)
        path = folder / "tones" / f"tone{label}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, 8000, (wave * 8000).astype(np.int16))
    return folder / "tones"


def write_series(folder):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    values = np.sin(np.arange(80) / (3 + labels[:, None]) + rng.normal(0, 1, (120, 1))) + rng.normal(0, 0.2, (120, 80))
    lines = ["\t".join([str(y), *(f"{v:.5f}" for v in x)]) for y, x in zip(labels, values, strict=True)]
    path = folder / "Waves_TRAIN.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("write", "modality", "learner"),
    [
        (write_pictures, "image", "cnn"),
        (write_sentences, "text", "text"),
        (write_recordings, "audio", "audio_cnn"),
        (write_series, "series", "series"),
    ],
)
def test_what_ships_recommends_for_items(folder, write, modality, learner):
    data = str(write(folder))
    shown = CliRunner().invoke(app, ["recommend", data, "--k", "2"])
    assert shown.exit_code == 0, shown.output
    assert "nearest past tasks: " in shown.output
    answer = json.loads(CliRunner().invoke(app, ["recommend", data, "--k", "2", "--json"]).stdout)
    assert (answer["task"]["modality"], answer["learner"]) == (modality, learner)
    assert [one["rank"] for one in answer["recommendations"]] == [1, 2]
    assert answer["lineage"]["surrogate_name"] == "shipped"
    assert answer["tuning"]["low"] <= answer["tuning"]["expected_gain"] <= answer["tuning"]["high"]
