"""The CNN of the examples as a function, for `--learner digits_learner:CNN`; it trains what the script trains."""

from argparse import Namespace
from pathlib import Path

import yaml

import metaflow_hpo as hpo
from metaflow_hpo.examples import train_digits

SPACE = yaml.safe_load(Path(train_digits.__file__).with_name("digits_space.yaml").read_text())
EPOCHS = 3


def train(configuration, task, report):
    values = {"momentum": None, **configuration, "data": task.address}
    return train_digits.train(Namespace(**values, epochs=report.fidelity, seed=report.seed), report)


CNN = hpo.learner_from_function(train, SPACE, name="digits_cnn", fidelity=EPOCHS, modalities=("opaque",))
