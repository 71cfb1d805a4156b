"""A configuration as a Python script of its own: the recipe of a learner in plain PyTorch or scikit-learn.

The one thing to know: the templates in `scripts/` repeat the recipe of `preprocessing.py`, `mlp/recipe.py`, `realmlp/`,
`svm.py`, `networks/training.py` and `cnn.py` in other words; whoever changes one changes the other, and the tests
compare their scores. Of texts, recordings and series the script holds our own source, see `script_source`.
"""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaflow_hpo.learners.networks.network_learner import NetworkLearner
from metaflow_hpo.learners.script_source import gather
from metaflow_hpo.modalities.table.written_numbers import NumberStyle
from metaflow_hpo.space import Configuration
from metaflow_hpo.version import __version__

_LINE = 100
_WHAT = {
    "mlp": "a multi-layer perceptron",
    "realmlp": "a network after RealMLP and TabM",
    "svm": "a support vector machine",
}
_ITEMS = {"audio_cnn": "recordings", "text": "texts", "series": "series"}
SCRIPTED = (*_WHAT, "cnn", *_ITEMS)
"""Learners that can be written down as a script."""

_OF_THE_LOOP = ("learning_rate", "schedule", "batch_size", "weight_decay", "label_smoothing", "dropout")
_IMPORTS = ("import math", "import sys", "from pathlib import Path", "import torch")
_FUNCTIONAL = "from torch.nn import functional"
_NEEDS = {
    "mlp": "torch, numpy, pandas and scikit-learn",
    "realmlp": "torch, numpy, pandas, scipy and scikit-learn",
    "svm": "numpy, pandas and scikit-learn",
}


@dataclass(frozen=True)
class ScriptTable:
    """How a table is read, and what its columns are.

    Attributes:
        path: The file.
        read: Python expression of `path` that reads it with pandas.
        missing: What stands for a missing value, `MISSING` in `read`.
        target: Column to predict.
        classes: Names of the classes; empty for a regression.
        numeric: Columns of numbers.
        dates: Columns of dates, used as days since 1970, with the order of day, month and year (`iso` where programs
            wrote them), see `DateStyle`.
        categorical: Columns of categories.
        styles: How the numbers of a column, or of the target, were written, where that was for people.
    """

    path: str
    read: str
    missing: Sequence[str]
    target: str
    classes: Sequence[str]
    numeric: Sequence[str]
    dates: Mapping[str, str]
    categorical: Sequence[str]
    styles: Mapping[str, NumberStyle]


def render_script(table: ScriptTable, learner: str, configuration: Configuration, *, epochs: int, seed: int) -> str:
    """Return a script that trains one configuration on a table and scores it on rows that it holds out.

    Args:
        table: The table; its names end up in the script as quoted text only.
        learner: `mlp`, `realmlp` or `svm`.
        configuration: A valid configuration of the learner.
        epochs: Epochs of a network.
        seed: Seed of the split and of the training.
    """
    return _render(
        learner,
        what=_WHAT[learner],
        needs=_NEEDS[learner],
        is_regression=not table.classes,
        table=table,
        configuration=configuration,
        epochs=epochs,
        seed=seed,
    )


@dataclass(frozen=True)
class ScriptPictures:
    """A folder with a folder of pictures per class.

    Attributes:
        path: The folder.
        classes: Names of the classes, and of their folders, by number.
        shape: `(channels, height, width)` that pictures get.
        suffixes: Endings of pictures.
    """

    path: str
    classes: Sequence[str]
    shape: tuple[int, int, int]
    suffixes: Sequence[str]


def render_cnn(pictures: ScriptPictures, configuration: Configuration, *, epochs: int, seed: int) -> str:
    """Return a script that trains a configuration of the `cnn` on pictures and scores it on some that it holds out.

    Args:
        pictures: The pictures; names end up in the script as quoted text only.
        configuration: A valid configuration.
        epochs: Epochs.
        seed: Seed of the split and of the training.
    """
    from metaflow_hpo.learners.cnn import plan_layers

    layers, pixels = plan_layers(int(configuration["depth"]), int(configuration["width"]), pictures.shape)
    return _render(
        "cnn",
        what="a convolutional network",
        needs="torch, numpy, scikit-learn and Pillow",
        items="pictures",
        data=pictures.path,
        classes=pictures.classes,
        shape=pictures.shape,
        suffixes=pictures.suffixes,
        layers=layers,
        head_inputs=layers[-1].outputs * (pixels if configuration["head"] == "flatten" else 1),
        clip=0,
        configuration=configuration,
        epochs=epochs,
        seed=seed,
    )


def render_items(
    data: str,
    classes: Sequence[str],
    learner: NetworkLearner[Any],
    configuration: Configuration,
    *,
    epochs: int,
    seed: int,
) -> str:
    """Return a script that trains a configuration on items in a file beside it, and scores it on those held out there.

    Args:
        data: Name of the file, an `npz` with `labels` and `held_out` `(n,)`, and with the items as they are prepared:
            `texts` and `texts.ends` of texts, else `items`.
        classes: Names of the classes by number.
        learner: `audio_cnn`, `text` or `series`.
        configuration: A valid configuration.
        epochs: Epochs.
        seed: Seed of the training.
    """
    kind = type(learner)
    left_out = ("Encoder", "to_state", "from_state")
    gathered = gather([kind.fit_encoder, kind.build, kind.augment], without=left_out)
    lines = {*gathered.imports, *_IMPORTS} - {"import numpy as np", "from torch import nn", _FUNCTIONAL}
    outside = {line for line in lines if line.split()[1].partition(".")[0] not in sys.stdlib_module_names}
    needed = sorted(
        {"pandas" for line in outside if "pandas" in line} | {"scipy" for line in outside if "scipy" in line}
    )
    return _render(
        "arrays",
        what=f"the learner {learner.name}",
        needs=" and ".join([", ".join(["torch", "numpy", *needed]), "scikit-learn"]),
        argument="FILE.npz",
        items=_ITEMS[learner.name],
        learner=learner.name,
        data=data,
        classes=classes,
        standard_imports=_sort_imports(lines - outside),
        imports=_sort_imports(outside),
        uses_functional=_FUNCTIONAL in gathered.imports,
        # The loop calls what changes items `augment`.
        source=gathered.text.replace("def augment(x,", "def change(x,"),
        own={name: value for name, value in configuration.items() if name not in _OF_THE_LOOP},
        clip=learner.clip,
        configuration=configuration,
        epochs=epochs,
        seed=seed,
    )


def _sort_imports(lines: Collection[str]) -> list[str]:
    return sorted(lines, key=lambda line: (line.startswith("from"), line))


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - Python, not HTML; names go through `literal`
        loader=PackageLoader("metaflow_hpo.learners", "scripts"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["literal"] = to_literal
    return environment.get_template(f"{template}.py.jinja").render(version=__version__, **values)


def to_literal(value: Any) -> str:
    """Return text, a number or a list of them as Python writes it, a long list with one entry a line."""
    if isinstance(value, list | tuple):
        entries = [to_literal(one) for one in value]
        line = f"[{', '.join(entries)}]"
        return line if len(line) <= _LINE else "[\n" + "".join(f"    {entry},\n" for entry in entries) + "]"
    if not isinstance(value, str) or not value.isprintable() or ('"' in value and "'" not in value):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # Python's as well: in double quotes, which nothing in it can end
