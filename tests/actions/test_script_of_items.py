"""The scripts of `text`, `audio_cnn` and `series`: run as a person would, and part by part beside ours."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from metaflow_hpo.actions.script import write_script
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.collect.trials import train_trials
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.networks.training import draw_schedule
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.settings import Settings
from tests.modalities.audio.sounds import sine, written

PACKAGES = (np, pd)
VARIANTS = {
    "text": [
        {"encoder": "bag"},
        {"encoder": "cnn"},
        {"encoder": "gru", "unit": "characters"},
        {"encoder": "transformer"},
    ],
    "series": [{"encoder": "convolution"}, {"encoder": "inception", "normalise": "series"}, {"encoder": "gru"}],
    "audio_cnn": [{}, {"augmentation": 0.8, "depth": 2}],
}

SMALL = {"series": {"filters": 16}, "audio_cnn": {"width": 8, "depth": 2}}


def write_sentences(folder: Path) -> Path:
    """Write what numpy and pandas say of their functions: real sentences of two authors."""
    rows = []
    for package in PACKAGES:
        said = [(getattr(package, name).__doc__ or "").strip().split("\n\n")[0] for name in sorted(dir(package))]
        rows += [(text, package.__name__) for text in dict.fromkeys(said) if " " in text][:150]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / "sentences.csv", index=False)
    return folder / "sentences.csv"


def write_digits(folder: Path) -> Path:
    """Write handwritten digits as series: their 64 pixels one after the other."""
    pixels, digits = load_digits(n_class=3, return_X_y=True)
    np.savez(folder / "digits.npz", x=pixels[:160].astype(np.float32), y=digits[:160])
    return folder / "digits.npz"


def write_tones(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(40):
        for label, hertz in (("low", 300), ("high", 900)):
            path = folder / "tones" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = sine(hertz * rng.uniform(0.8, 1.2), 0.3, 8_000)
            path.write_bytes(written(0.5 * wave + 0.1 * rng.normal(size=len(wave)), 8_000))
    return folder / "tones"


SOURCES = {"text": write_sentences, "series": write_digits, "audio_cnn": write_tones}


def choose(learner: str, changed: dict[str, object]) -> dict[str, object]:
    """Return the defaults with some changes, and those that these make active."""
    space = get_learner(learner).space
    values = {hp.name: changed.get(hp.name, hp.default) for hp in space.hyperparameters} | changed
    active = {
        hp.name: values[hp.name]
        for hp in space.hyperparameters
        if hp.condition is None or values[hp.condition.parent] in hp.condition.values
    }
    return dict(space.validate(active))


@pytest.fixture(scope="module", params=list(SOURCES))
def task(request, tmp_path_factory):
    path = SOURCES[request.param](tmp_path_factory.mktemp(request.param))
    return request.param, path, read_source(path)


def write(task, folder: Path, configuration, epochs=3) -> Path:
    learner, path, data = task
    pipeline = Pipeline(Settings(data=folder / "data", learner=learner, fidelity_epochs=epochs))
    write_script(pipeline, folder / "train.py", path, data, configuration)
    return folder / "train.py"


def test_a_person_runs_it_and_it_scores_like_the_trainer_on_the_same_items(task, tmp_path):
    name, _, data = task
    configuration = choose(name, SMALL.get(name, {}))
    epochs = 16 if name == "series" else 8
    script = write(task, tmp_path, configuration, epochs)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-I", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    first, balanced, *_ = done.stdout.splitlines()
    (_, trial), *_ = train_trials(data, get_learner(name), [configuration], strategy="x", seed=0, fidelity=epochs)
    print(f"\n{name}: script {balanced}, trainer {trial.test_performance:.4f}")
    assert first.split()[0] == str(len(data.train_target))
    assert first.split()[-3] == str(len(data.test_target))
    assert trial.test_performance > 0.75
    assert float(balanced.split()[1]) == pytest.approx(trial.test_performance, abs=0.1)
    assert "metaflow_hpo" not in script.read_text(encoding="utf-8")


def test_its_parts_are_ours_whatever_the_configuration(task, tmp_path):
    name, _, data = task
    learner = get_learner(name)
    for changed in VARIANTS[name]:
        configuration = choose(name, changed)
        script = runpy.run_path(str(write(task, tmp_path, configuration)))
        items, labels, held_out = script["read_items"](tmp_path / "train_items.npz")
        assert (labels.tolist(), held_out.tolist()) == (data.target.tolist(), data.is_test.tolist())
        ours = learner.fit_encoder(items[~held_out], configuration)
        theirs = script["fit_encoder"](items[~held_out], script["CONFIGURATION"])
        encoded = theirs.encode(items[:9])
        assert torch.equal(encoded, ours.encode(items[:9]))
        network = learner.draw_network(configuration, ours, len(data.class_names))
        copied = script["build"](script["CONFIGURATION"], theirs, len(data.class_names))
        copied.load_state_dict(network.state_dict())
        assert torch.equal(copied.eval()(encoded), network.eval()(encoded))
        stream = torch.Generator().manual_seed(5)
        torch.manual_seed(5)
        assert torch.equal(script["augment"](encoded.clone()), learner.augment(encoded.clone(), configuration, stream))
        rates = draw_schedule(configuration["learning_rate"], configuration["schedule"], 40)
        assert [script["learning_rate"](step, 40) for step in range(40)] == pytest.approx(rates, rel=1e-9)


def test_it_lints_and_an_earlier_one_of_ours_is_replaced_but_nobody_elses(task, tmp_path):
    script = write(task, tmp_path, choose(task[0], {}))
    write(task, tmp_path, choose(task[0], {}))
    rules = ["--isolated", "--select", "E,F,W,B", "--line-length", "120", "--no-cache"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    (tmp_path / "train_items.npz").write_bytes(b"somebody else's")
    with pytest.raises(MetaflowHPOError, match="where there is another file"):
        write(task, tmp_path, choose(task[0], {}))
