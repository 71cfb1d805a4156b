"""Ten opaque tasks of handwritten digits, and an eleventh: which digits, and how noisy they are."""

import os
import sys
from argparse import Namespace
from pathlib import Path

import yaml

import metaflow_hpo
from metaflow_hpo.examples.train_digits import train
from tests.ten_tasks.digits_learner import EPOCHS

HERE = Path(__file__).parent
EXAMPLES = Path(metaflow_hpo.__file__).parent / "examples"
SPACE = EXAMPLES / "digits_space.yaml"
COMMAND = f"{sys.executable} {EXAMPLES / 'train_digits.py'} " + " ".join(
    ["--data {data} --seed {seed} --epochs {fidelity}"]
    + [f"--{name} {{{name}}}" for name in ("lr", "optimizer", "momentum", "width", "norm")]
)
BY_COMMAND = ["--command", COMMAND, "--space", str(SPACE), "--name", "digits_cnn", "--fidelity", str(EPOCHS)]
BY_FUNCTION = ["--learner", "digits_learner:CNN"]
TASKS = {
    "two": ("0,1", 0.1),
    "three": ("3,5,8", 0.3),
    "four": ("1,4,7,9", 0.2),
    "five": ("0,2,4,6,8", 0.4),
    "odd": ("1,3,5,7,9", 0.1),
    "six": ("0,1,2,3,4,5", 0.6),
    "seven": ("3,4,5,6,7,8,9", 0.2),
    "eight": ("0,1,2,3,4,5,6,7", 0.1),
    "nine": ("1,2,3,4,5,6,7,8,9", 0.5),
    "ten": ("0,1,2,3,4,5,6,7,8,9", 0.3),
}
NEW = ("0,2,3,5,6,8,9", 0.35)


def meta_features(digits: str, noise: float) -> dict[str, float]:
    return {"classes": len(digits.split(",")), "noise": noise}


def write_task(folder: Path, name: str, digits: str, noise: float) -> Path:
    """Write a task's description, a family of its own."""
    path = folder / f"{name}.yaml"
    values = {"family": name, "metric": "accuracy", "data": f"digits:{digits}:noise={noise}", "licence": "BSD"}
    path.write_text(yaml.safe_dump({**values, "meta_features": meta_features(digits, noise)}))
    return path


def surroundings(data: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a program that finds the learner's module."""
    folders = [str(HERE), str(Path(metaflow_hpo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    chosen = {f"METAFLOW_HPO_{name.upper()}": value for name, value in {"data": str(data), **settings}.items()}
    return {**os.environ, **chosen, "PYTHONPATH": os.pathsep.join(folders)}


def train_once(configuration: dict[str, object]) -> float:
    """Train one configuration on the eleventh task."""
    digits, noise = NEW
    values = {"momentum": None, **configuration, "data": f"digits:{digits}:noise={noise}"}
    return train(Namespace(**values, epochs=EPOCHS, seed=0), lambda step, score: None)["score"]
