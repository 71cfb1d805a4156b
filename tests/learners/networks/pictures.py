"""Small tasks of pictures: the digits of scikit-learn, 8 x 8, as folds and as a task."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from metaflow_hpo.learners.cnn import CNN
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.modality import IMAGE_MODALITY
from metaflow_hpo.modalities.modality import Fold


def draw_digits(count, seed=0):
    """Return `(n, 8, 8)` uint8 and their digits."""
    pictures, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(seed).permutation(len(labels))[:count]
    return (pictures[chosen].reshape(-1, 8, 8) * 15).astype(np.uint8), labels[chosen].astype(np.int64)


def make_fold(training=120, scored=60, number=0):
    pictures, labels = draw_digits(training + scored)
    x = pictures[:, None].astype(np.float32) / 255
    return Fold(x[:training], labels[:training], x[training:], labels[training:], 10, number=number)


def read_digits(folder, count):
    """Return a task of so many digits, read from a file in a folder."""
    pictures, labels = draw_digits(count)
    np.savez(folder / "digits.npz", X=pictures, y=labels)
    return IMAGE_MODALITY.read(folder / "digits.npz", Hints())


class DivergingCNN(CNN):
    """A network whose outputs are no numbers."""

    def build(self, configuration, encoder, classes):
        network = super().build(configuration, encoder, classes)
        with torch.no_grad():
            network[-1].bias.fill_(float("nan"))
        return network
