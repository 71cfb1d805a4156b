"""How fast many small networks of pictures are trained: the part `networks` of `make bench-collect`.

Ours and its rivals train the same networks (`cnn`, from one pool of random configurations) on the same pictures, with
the same augmentation, schedule and validation, for the same epochs, in turns. Every rival gets its best case: items are
tensors in memory, nothing is logged or saved, and the faster of one and of two threads counts.
"""

import logging
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from metaflow_hpo.learners.cnn import CNN
from metaflow_hpo.learners.networks.network_learner import Encodings
from metaflow_hpo.learners.networks.training import Encoded, Recipe, make_recipe
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration

EPOCHS, SEED = 5, 0
_POOL = 256
_TIMED = 4
"""Passes by which the limit is measured."""


@dataclass(frozen=True)
class Work:
    """What all train: configurations, the most expensive first, on one split of pictures."""

    name: str
    fold: Fold
    configurations: tuple[Configuration, ...]


def make_work(side: int, count: int) -> Work:
    """Return the work on scikit-learn's digits, zoomed to `side` pixels."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(labels))[:800]
    x = zoom(pictures[chosen].reshape(-1, 1, 8, 8) / 16, (1, 1, side / 8, side / 8), order=1).astype(np.float32)
    y = labels[chosen].astype(np.int64)
    fold = Fold(x[:600], y[:600], x[600:], y[600:], 10)
    learner = CNN()
    drawn = learner.space.from_unit(np.random.default_rng(1).random((_POOL, len(learner.space.names))))
    drawn.sort(key=lambda configuration: learner.measure_cost(configuration, x.shape[1:], 10), reverse=True)
    configurations = tuple(drawn[int((index + 0.5) * _POOL / count)] for index in range(count))
    return Work(f"digits {side} x {side}", fold, configurations)


def train_ours(work: Work) -> list[int]:
    """Train with the learner, as a search does; return the epochs trained."""
    learner = CNN(workers=2, device="cpu")
    trained = learner.train_folds([work.fold], work.configurations, seed=SEED, epochs=EPOCHS)
    epochs = {index: len(outcome.learning_curve) for index, [outcome] in trained}
    return [epochs[index] for index in range(len(work.configurations))]


def _prepare(work: Work, configuration: Configuration) -> tuple[nn.Module, Encoded, Recipe]:
    """Return network and items as they come, without a memory layout of our own."""
    learner = CNN()
    encoder, items = Encodings(learner, [work.fold], torch.device("cpu")).get(0, configuration)
    network = learner.draw_network(configuration, encoder, 10).to(memory_format=torch.contiguous_format)
    plain = Encoded(items.x_train.contiguous(), items.y_train, items.x_valid.contiguous(), items.y_valid, items.weights)
    return network, plain, make_recipe(configuration, len(items.y_train), EPOCHS)


def _build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    rate = float(recipe.learning_rates[0])
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=recipe.weight_decay)


def _make_loaders(items: Encoded, recipe: Recipe) -> tuple[Any, Any]:
    from torch.utils.data import DataLoader, TensorDataset

    train = TensorDataset(items.x_train, items.y_train)
    batch = -(-len(train) // recipe.batches)
    valid = TensorDataset(items.x_valid, items.y_valid)
    return DataLoader(train, batch_size=batch, shuffle=True), DataLoader(valid, batch_size=256)


class _Module:
    """Makes the Lightning module, which needs Lightning imported."""

    @staticmethod
    def make(network: nn.Module, recipe: Recipe, augment: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        import pytorch_lightning as pl

        class Module(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.network, self.seen = network, []

            def training_step(self, batch, _):
                for group in self.optimizers(use_pl_optimizer=False).param_groups:
                    group["lr"] = float(recipe.learning_rates[min(self.global_step, len(recipe.learning_rates) - 1)])
                logits = self.network(augment(batch[0]))
                return nn.functional.cross_entropy(logits, batch[1], label_smoothing=recipe.label_smoothing)

            def validation_step(self, batch, _):
                self.seen.append(float((self.network(batch[0]).argmax(1) == batch[1]).float().mean()))

            def configure_optimizers(self):
                return _build_optimizer(self.network, recipe)

        return Module()


def train_lightning(work: Work, threads: int) -> list[int]:
    """Run one `pl.Trainer.fit` a configuration, everything switched off."""
    import pytorch_lightning as pl

    for name in ("pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    epochs = []
    for configuration in work.configurations:
        network, items, recipe = _prepare(work, configuration)
        generator = torch.Generator().manual_seed(SEED)
        augment = partial(_augment, CNN(), configuration, generator)
        off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                max_epochs=EPOCHS,
                accelerator="cpu",
                devices=1,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                **off,
            )
            trainer.fit(_Module.make(network, recipe, augment), *_make_loaders(items, recipe))
        epochs.append(trainer.current_epoch)
    return epochs


def _augment(learner: CNN, configuration: Configuration, generator: torch.Generator, x: torch.Tensor) -> torch.Tensor:
    return learner.augment(x, configuration, generator)


def train_plainly(work: Work, configuration: Configuration) -> int:
    """Train a configuration as most people write it, with a `DataLoader`."""
    network, items, recipe = _prepare(work, configuration)
    train, valid = _make_loaders(items, recipe)
    optimizer, generator, step = _build_optimizer(network, recipe), torch.Generator().manual_seed(SEED), 0
    augment = partial(_augment, CNN(), configuration, generator)
    for _ in range(EPOCHS):
        network.train()
        for x, y in train:
            for group in optimizer.param_groups:
                group["lr"] = float(recipe.learning_rates[min(step, len(recipe.learning_rates) - 1)])
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(augment(x)), y, label_smoothing=recipe.label_smoothing).backward()
            optimizer.step()
            step += 1
        network.eval()
        with torch.no_grad():
            for x, y in valid:
                float((network(x).argmax(1) == y).float().mean())
    return EPOCHS


def train_optuna(work: Work, jobs: int) -> list[int]:
    """Let Optuna run the plain loop: one trial on two threads at a time, or two on one thread each."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(2 // jobs)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for index in range(len(work.configurations)):
        study.enqueue_trial({"index": index})

    def objective(trial: optuna.Trial) -> float:
        index = trial.suggest_int("index", 0, len(work.configurations) - 1)
        return float(train_plainly(work, work.configurations[index]))

    study.optimize(objective, n_trials=len(work.configurations), n_jobs=jobs)
    return [int(trial.value or 0) for trial in study.trials]


RIVALS: dict[str, tuple[tuple[str, Callable[[Work], list[int]], int], ...]] = {
    "pl.Trainer.fit a configuration": (
        ("1 thread", partial(train_lightning, threads=1), 1),
        ("2 threads", partial(train_lightning, threads=2), 2),
    ),
    "Optuna + a plain PyTorch loop": (
        ("2 jobs of 1 thread", partial(train_optuna, jobs=2), 2),
        ("1 job of 2 threads", partial(train_optuna, jobs=1), 2),
    ),
}
"""Variants of each rival: name, what trains, and the processors that it can use."""


def measure_limit(work: Work) -> float:
    """Return the processor seconds of the passes through the networks alone, forwards and backwards."""
    import time

    torch.set_num_threads(1)
    total = 0.0
    for configuration in work.configurations:
        network, items, recipe = _prepare(work, configuration)
        network = network.to(memory_format=torch.channels_last)
        size = -(-len(items.y_train) // recipe.batches)
        x = items.x_train[:size].contiguous(memory_format=torch.channels_last)
        valid = items.x_valid.contiguous(memory_format=torch.channels_last)
        network.train()
        network(x).sum().backward()
        began = time.process_time()
        for _ in range(_TIMED):
            network(x).sum().backward()
        passes = (time.process_time() - began) / _TIMED * recipe.batches
        network.eval()
        began = time.process_time()
        with torch.inference_mode():
            network(valid)
        total += EPOCHS * (passes + time.process_time() - began)
    return total


def measure_networks(sides: tuple[int, ...] = (8, 28), count: int = 6, repetitions: int = 3) -> list[dict[str, Any]]:
    """Time ours and each rival in turns, and return the ratios."""
    from bench_collect import timed

    rows = []
    for side in sides:
        work = make_work(side, count)
        train_ours(Work(work.name, work.fold, work.configurations[-1:]))  # imports
        limit = statistics.median(measure_limit(work) for _ in range(repetitions))
        row: dict[str, Any] = {"task": work.name, "configurations": count, "epochs": EPOCHS, "rivals": []}
        mine = []
        for name, variants in RIVALS.items():
            probe = Work(work.name, work.fold, work.configurations[count // 2 :: count])
            variants[0][1](probe)
            took = [timed(partial(one, probe)).processor / used for _, one, used in variants]
            variant, train, processors = variants[int(np.argmin(took))]
            pairs = []
            for _ in range(repetitions):
                epochs: list[int] = []
                mine.append(timed(partial(_train_into, epochs, train_ours, work)))
                pairs.append((mine[-1], timed(partial(_train_into, epochs, train, work))))
                if set(epochs) != {EPOCHS}:
                    raise SystemExit(f"Expected {EPOCHS} epochs of all; got {epochs} of {name}.")
            row["rivals"].append({"name": name, "variant": variant, **_summarise(pairs, processors, limit)})
        row["processor_s_a_configuration"] = statistics.median(run.processor for run in mine) / count
        row["passes_share"] = limit / statistics.median(run.processor for run in mine)
        rows.append(row)
    return rows


def _train_into(epochs: list[int], train: Callable[[Work], list[int]], work: Work) -> None:
    epochs.extend(train(work))


def _summarise(pairs: list[tuple[Any, Any]], processors: int, limit: float) -> dict[str, Any]:
    from bench_collect import summarise

    return summarise(pairs, processors, limit)


def show_networks(rows: list[dict[str, Any]]) -> None:
    """Print what was measured."""
    for row in rows:
        print(
            f"\n{row['task']}, {row['configurations']} networks of {row['epochs']} epochs: ours "
            f"{row['processor_s_a_configuration']:.2f} processor seconds each, {row['passes_share']:.0%} of them "
            "in the networks' own passes"
        )
        for rival in row["rivals"]:
            wall, idle = (f"{min(rival[k]):.1f}-{max(rival[k]):.1f}" for k in ("wall_ratios", "idle_ratios"))
            print(
                f"{rival['name']:36} wall-clock {rival['wall_ratio']:5.1f}x ({wall}), idle {rival['idle_ratio']:5.1f}x "
                f"({idle}), limit {rival['highest_ratio']:5.1f}x  {rival['variant']}"
            )
