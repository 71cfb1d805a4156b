"""The script of the `cnn`: run as a person would, and part by part beside ours."""

import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from metaflow_hpo.actions.script import describe_pictures
from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.learners.cnn import CNN, SPACE
from metaflow_hpo.learners.networks.images import augment_images
from metaflow_hpo.learners.networks.training import draw_schedule
from metaflow_hpo.learners.script import render_cnn
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.modality import IMAGE_MODALITY
from tests.learners.networks.pictures import draw_digits

CONFIGURATIONS = {
    "default": SPACE.default,
    "other": SPACE.default
    | {"schedule": "cosine", "head": "average", "residual": False, "flip": True, "augmentation": 0.7, "depth": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """400 digits as pictures in a folder per class, coloured."""
    root = tmp_path_factory.mktemp("digits")
    for number, (picture, label) in enumerate(zip(*draw_digits(400), strict=True)):
        (root / f"digit {label}").mkdir(exist_ok=True)
        coloured = np.stack([picture, picture // 2, 255 - picture], axis=2)
        Image.fromarray(coloured).save(root / f"digit {label}" / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def data(folder):
    return IMAGE_MODALITY.read(folder, Hints())


def write(folder, data, configuration, epochs=3):
    text = render_cnn(describe_pictures(folder, data), configuration, epochs=epochs, seed=0)
    path = folder.parent / "train.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_person_runs_it_and_it_learns_digits(folder, data):
    path = write(folder, data, SPACE.default | {"depth": 2, "width": 8, "learning_rate": 0.01}, epochs=10)
    done = subprocess.run([sys.executable, "-W", "error", path], capture_output=True, text=True, check=True)
    first, balanced, *_ = done.stdout.splitlines()
    assert first == "320 pictures trained on, 80 held out"
    assert float(balanced.split()[1]) > 0.8


@pytest.mark.parametrize("choice", CONFIGURATIONS)
class TestItsParts:
    def test_read_and_prepare_pictures_as_ours(self, folder, data, choice):
        script = runpy.run_path(str(write(folder, data, CONFIGURATIONS[choice])))
        pictures, labels = script["read_items"](folder)
        ours = IMAGE_MODALITY.prepare_arrays(data.items, data.items)
        assert sorted(p.tobytes() for p in pictures) == sorted(p.tobytes() for p in ours)
        assert np.bincount(labels).tolist() == np.bincount(data.target).tolist()
        encoder = CNN().fit_encoder(ours[:300], CONFIGURATIONS[choice])
        encoded = script["fit_encoder"](ours[:300])(ours[300:])
        assert torch.allclose(encoded, encoder.encode(ours[300:]), atol=1e-6)

    def test_are_the_network_the_augmentation_and_the_schedule_of_ours(self, folder, data, choice):
        configuration = CONFIGURATIONS[choice]
        script = runpy.run_path(str(write(folder, data, configuration)))
        learner, x = CNN(), IMAGE_MODALITY.prepare_arrays(data.items[:20], data.items)
        encoder = learner.fit_encoder(x, configuration)
        ours, theirs = learner.draw_network(configuration, encoder, 10), script["make_network"]()
        theirs.load_state_dict(ours.state_dict())
        items = encoder.encode(x)
        assert torch.allclose(theirs.eval()(items), ours.eval()(items), atol=1e-6)
        stream = torch.Generator().manual_seed(5)
        torch.manual_seed(5)
        expected = augment_images(items, configuration["augmentation"], configuration["flip"], stream)
        assert torch.allclose(script["augment"](items), expected, atol=1e-6)
        rates = draw_schedule(configuration["learning_rate"], configuration["schedule"], 40)
        assert [script["learning_rate"](step, 40) for step in range(40)] == pytest.approx(rates, rel=1e-9)


def test_pictures_that_are_not_in_a_folder_per_class_are_refused(folder, data, tmp_path):
    with pytest.raises(InvalidTaskError, match=r"Expected a folder with a folder per class for --script; .* has none"):
        describe_pictures(tmp_path, data)
