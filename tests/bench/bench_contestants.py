"""The contestants: ours, and three usual ways to train the same configurations on the same rows for the same epochs.

The one thing to know: every rival gets its best case. Rows are in memory, nothing is logged or saved, and where
Lightning may run on one or on two threads the faster way counts. scikit-learn is timed in float64, which it gets when a
person passes a table, and in float32, which is equal work.
"""

import functools
import logging
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from metaflow_hpo.learners.mlp import torch_engine
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.mlp.recipe import SPACE, Recipe, Start, draw_start, make_recipe
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Categorical, Configuration, Integer, SearchSpace

EPOCHS = 50
SEED = 0

_WIDER = {"batch_size": (16, 512), "layers": (1, 5), "width": (64, 1024)}


def _widen(space: SearchSpace) -> SearchSpace:
    wider = [
        replace(hp, low=_WIDER[hp.name][0], high=_WIDER[hp.name][1])
        if isinstance(hp, Integer) and hp.name in _WIDER
        else hp
        for hp in space.hyperparameters
    ]
    return SearchSpace(tuple(wider))


SPACES = {"small": SPACE, "whole": _widen(SPACE)}
"""`small`: the learner's space, 1-4 layers, width 16-256, batch 32-256; `whole`: 1-5 layers, 64-1024, 16-512."""


@dataclass(frozen=True)
class WholeSpaceMLP(MLP):
    """The learner, for configurations of the whole space."""

    space: ClassVar[SearchSpace] = SPACES["whole"]


@dataclass(frozen=True)
class Work:
    """What every contestant trains: configurations, longest first, on one split of the rows of one task."""

    task: str
    space: str
    fold: Fold
    configurations: tuple[Configuration, ...]

    def start(self, configuration: Configuration) -> tuple[Recipe, Start]:
        """Draw what is random, the same for ours, Lightning and the torch loop."""
        recipe = make_recipe(configuration, self.fold, EPOCHS)
        return recipe, draw_start(recipe, len(self.fold.x_train), SEED, configuration, 0)


Contestant = Callable[[Work], list[int]]
"""Trains all of the work; returns the epochs each configuration was trained, to check that the work was equal."""


def train_ours(work: Work, workers: int) -> list[int]:
    """Train with the learner, as a search does."""
    learner = (MLP if work.space == "small" else WholeSpaceMLP)(workers=workers)
    trained = learner.train_folds([work.fold], work.configurations, seed=SEED, epochs=EPOCHS)
    epochs = {index: len(outcome.learning_curve) for index, [outcome] in trained}
    return [epochs[index] for index in range(len(work.configurations))]


def train_lightning(work: Work, threads: int, loader: bool) -> list[int]:
    """Run one `pl.Trainer.fit` a configuration, everything switched off.

    Args:
        work: What to train.
        threads: Of PyTorch.
        loader: Whether rows come from a shuffling `DataLoader` in the process, as Lightning documents it; otherwise
            mini-batches are cut from tensors, which is what an expert would do.
    """
    import pytorch_lightning  # noqa: F401 - sets the level that is raised here
    import torch

    torch.set_num_threads(threads)
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return [_fit_lightning(work.fold, *work.start(configuration), loader) for configuration in work.configurations]


@functools.cache
def _module_class() -> type:
    import pytorch_lightning as pl
    import torch

    class Module(pl.LightningModule):
        """The network of the torch engine as a Lightning module."""

        def __init__(self, recipe: Recipe, start: Start) -> None:
            super().__init__()
            self.network = torch_engine.build_network(recipe, start.parameters)
            self.recipe, self.losses, self.sums = recipe, [], [0.0, 0.0]

        def training_step(self, batch, _):
            x, y = batch
            return torch.nn.functional.cross_entropy(self.network(x), y)

        def validation_step(self, batch, _):
            x, y = batch
            outputs = self.network(x)
            self.sums = [float(torch.nn.functional.cross_entropy(outputs, y)), float((outputs.argmax(1) == y).sum())]

        def on_validation_epoch_end(self):
            self.losses.append(self.sums[0])

        def on_train_epoch_start(self):
            for group in self.optimizers(use_pl_optimizer=False).param_groups:
                group["lr"] = float(self.recipe.learning_rates[self.current_epoch])

        def configure_optimizers(self):
            rate, decay = float(self.recipe.learning_rates[0]), self.recipe.weight_decay
            if self.recipe.optimizer == "adam":  # the reference has one of its own, which is not PyTorch's class
                return torch.optim.Adam(self.network.parameters(), lr=rate, weight_decay=decay)
            return torch_engine.build_optimizer(self.recipe, self.network)

    return Module


class _Batches:
    """Mini-batches cut out of tensors in memory in the order of the `Start`: much faster than a DataLoader."""

    def __init__(self, x, y, order, batch: int) -> None:
        self.x, self.y, self.order, self.batch, self.epoch = x, y, order, batch, 0

    def __len__(self) -> int:
        return math.ceil(self.order.shape[1] / self.batch)

    def __iter__(self):
        rows, self.epoch = self.order[self.epoch], self.epoch + 1
        for chosen in rows.split(self.batch):
            yield self.x[chosen], self.y[chosen]


def _fit_lightning(fold: Fold, recipe: Recipe, start: Start, loader: bool) -> int:
    import pytorch_lightning as pl
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    x, y, x_valid, y_valid = (torch.tensor(a) for a in (fold.x_train, fold.y_train, fold.x_valid, fold.y_valid))
    module = _module_class()(recipe, start)
    valid = _Batches(x_valid, y_valid, torch.arange(len(x_valid)).expand(EPOCHS, -1), len(x_valid))
    if loader:
        batches = DataLoader(TensorDataset(x, y), batch_size=recipe.batch, shuffle=True)
    else:
        batches = _Batches(x, y, torch.from_numpy(start.order).to(torch.int64), recipe.batch)
    trainer = pl.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, log_every_n_steps=10**9,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no loader processes, and no logger
        trainer.fit(module, batches, valid)
    return len(module.losses)


def train_sklearn(work: Work, precision: type) -> list[int]:
    """Run one `RandomizedSearchCV(MLPClassifier, n_jobs=2)` over the list, on the same split, without a refit.

    Not quite equal work, in its favour: no dropout, no schedule, no validation after each epoch; AdamW becomes Adam.
    """
    from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.neural_network import MLPClassifier

    fold = work.fold
    x = np.concatenate([fold.x_train, fold.x_valid]).astype(precision)
    y, rows = np.concatenate([fold.y_train, fold.y_valid]), len(fold.x_train)
    points = [
        {name: [value] for name, value in {**_to_sklearn(configuration, fold), "random_state": index}.items()}
        for index, configuration in enumerate(work.configurations)
    ]
    search = RandomizedSearchCV(
        MLPClassifier(max_iter=EPOCHS, n_iter_no_change=EPOCHS + 1, tol=0.0, nesterovs_momentum=False),
        points, n_iter=len(points), scoring=_score_and_count, refit=False, n_jobs=2,
        random_state=_luckiest_order(points, work), cv=[(np.arange(rows), np.arange(rows, len(x)))],
    )  # fmt: skip
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, FitFailedWarning):  # diverged: counted below
            warnings.simplefilter("ignore", category=category)
        search.fit(x, y)
    trained = zip(search.cv_results_["params"], search.cv_results_["mean_test_epochs"], strict=True)
    epochs = {parameters["random_state"]: int(np.nan_to_num(count)) for parameters, count in trained}
    return [epochs[index] for index in range(len(points))]


def _to_sklearn(configuration: Configuration, fold: Fold) -> dict[str, Any]:
    recipe = make_recipe(configuration, fold, EPOCHS)
    return {
        "hidden_layer_sizes": recipe.widths[1:-1],
        "activation": recipe.activation,
        "solver": "sgd" if recipe.optimizer == "sgd" else "adam",
        "momentum": recipe.momentum,
        "alpha": recipe.weight_decay,
        "batch_size": recipe.batch,
        "learning_rate_init": float(recipe.learning_rates[0]),
    }


def _score_and_count(model: Any, x: Any, y: Any) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score

    return {"score": balanced_accuracy_score(y, model.predict(x)), "epochs": model.n_iter_}


@functools.cache
def _sampled_orders(count: int) -> list[list[int]]:
    from sklearn.model_selection import ParameterSampler

    points = [{"index": [index]} for index in range(count)]
    return [[p["index"] for p in ParameterSampler(points, count, random_state=seed)] for seed in range(100)]


def _luckiest_order(points: list[dict[str, Any]], work: Work) -> int:
    """Return the seed whose random order keeps two processes busy best: chance must not count against it."""
    costs = [make_recipe(configuration, work.fold, 1).cost for configuration in work.configurations]

    def end(order: list[int]) -> float:
        busy = [0.0, 0.0]
        for index in order:
            busy[busy.index(min(busy))] += costs[index]
        return max(busy)

    orders = _sampled_orders(len(points))
    return min(range(len(orders)), key=lambda seed: end(orders[seed]))


def train_optuna(work: Work, jobs: int) -> list[int]:
    """Run one Optuna study with its random sampler over the list; each trial trains with the plain torch loop."""
    import optuna
    import torch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, epochs = SPACES[work.space], [0] * len(work.configurations)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED), direction="maximize")
    for configuration in work.configurations:
        study.enqueue_trial(dict(configuration))

    def objective(trial: optuna.Trial) -> float:
        configuration = _suggest(trial, space)
        recipe, start = work.start(configuration)
        _, curve, _ = torch_engine.train_network(work.fold, recipe, start, torch.device("cpu"))
        epochs[trial.number] = len(curve)
        return float(curve[-1])

    study.optimize(objective, n_trials=len(epochs), n_jobs=jobs)
    return epochs


def _suggest(trial: Any, space: SearchSpace) -> Configuration:
    values: dict[str, Any] = {}
    for hp in space.hyperparameters:
        if not (hp.condition is None or values[hp.condition.parent] in hp.condition.values):
            continue
        if isinstance(hp, Categorical):
            values[hp.name] = trial.suggest_categorical(hp.name, hp.choices)
        elif isinstance(hp, Integer):
            values[hp.name] = trial.suggest_int(hp.name, hp.low, hp.high, log=hp.log)
        else:
            values[hp.name] = trial.suggest_float(hp.name, hp.low, hp.high, log=hp.log)
    return values


@dataclass(frozen=True)
class Rival:
    """A way to train that ours is compared with.

    Attributes:
        name: As in the tables.
        targets: By space: how many times slower it should be.
        variants: Ways to run it, of which the faster one on this machine is timed: name, function, processors it uses.
    """

    name: str
    targets: Mapping[str, float]
    variants: tuple[tuple[str, Contestant, int], ...]


_LIGHTNING, _SKLEARN, _OPTUNA = {"small": 45, "whole": 8}, {"small": 12, "whole": 8}, {"small": 18, "whole": 5}

RIVALS = (
    Rival(
        "pl.Trainer.fit, DataLoader",
        {"small": 45},  # in the whole space the faster way is enough
        tuple((f"{n} torch thread(s)", partial(train_lightning, threads=n, loader=True), n) for n in (1, 2)),
    ),
    Rival(
        "pl.Trainer.fit, batches cut from tensors",
        _LIGHTNING,
        tuple((f"{n} torch thread(s)", partial(train_lightning, threads=n, loader=False), n) for n in (1, 2)),
    ),
    Rival(
        "RandomizedSearchCV(n_jobs=2), float64",
        _SKLEARN,
        (("float64", partial(train_sklearn, precision=np.float64), 2),),
    ),
    Rival(
        "RandomizedSearchCV(n_jobs=2), float32",
        _SKLEARN,
        (("float32", partial(train_sklearn, precision=np.float32), 2),),
    ),
    Rival("Optuna(n_jobs=1) + torch loop", _OPTUNA, (("n_jobs=1", partial(train_optuna, jobs=1), 1),)),
    Rival("Optuna(n_jobs=2) + torch loop", _OPTUNA, (("n_jobs=2", partial(train_optuna, jobs=2), 2),)),
)
