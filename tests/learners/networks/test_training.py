import math

import numpy as np
import pytest
import torch
from torch import nn

from metaflow_hpo.learners.fold import score_weights
from metaflow_hpo.learners.networks.training import (
    Encoded,
    Training,
    build_optimizer,
    draw_schedule,
    make_recipe,
    predict_logits,
)
from metaflow_hpo.modalities.modality import Fold

GO_ON = np.zeros(1, np.int64)
CONFIGURATION = {
    "learning_rate": 0.02,
    "weight_decay": 0.1,
    "batch_size": 16,
    "schedule": "one_cycle",
    "label_smoothing": 0.1,
    "dropout": 0.0,
}


def make_items(count=50, valid=20):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count + valid, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 1)
    fold = Fold(x[:count], y[:count], x[count:], y[count:], 3)
    tensors = [torch.from_numpy(a) for a in (fold.x_train, fold.y_train, fold.x_valid, fold.y_valid)]
    return Encoded(*tensors, torch.from_numpy(score_weights(fold)))


def make_network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))


def begin(epochs=4, augment=lambda x, _: x, items=None, network=None, **hyperparameters):
    items = items or make_items()
    recipe = make_recipe(CONFIGURATION | hyperparameters, len(items.y_train), epochs)
    return Training(network or make_network(), items, recipe, torch.Generator().manual_seed(5), augment)


def flatten(network):
    return torch.cat([p.detach().ravel() for p in network.parameters()])


class TestTheLoop:
    def train_plainly(self, epochs, items):
        """The same training as anyone would write it with PyTorch's own optimizer and schedule."""
        network, generator = make_network(), torch.Generator().manual_seed(5)
        norms = [*network[1].parameters()]
        groups = [
            {"params": [network[0].weight, network[3].weight], "weight_decay": 0.1},
            {"params": [network[0].bias, *norms, network[3].bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.02)
        # 50 items in batches of at most 16: 4 a epoch, of 12 or 13 items.
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, epochs * 4, cycle_momentum=False)
        loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
        curve = []
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(50, generator=generator), [12, 13, 13, 12]):
                optimizer.zero_grad()
                loss_of(network(items.x_train[rows]), items.y_train[rows]).backward()
                optimizer.step()
                schedule.step()
            with torch.no_grad():
                hits = network(items.x_valid).argmax(dim=1) == items.y_valid
            classes = items.y_valid.unique()
            curve.append(float(np.mean([float(hits[items.y_valid == c].float().mean()) for c in classes])))
        return network, curve

    @pytest.mark.filterwarnings("ignore:Detected call of")
    def test_takes_the_steps_of_a_plain_one_with_pytorchs_own_optimizer_and_schedule(self):
        items = make_items()
        training = begin(items=items)
        outcome = training.advance(4, GO_ON)
        network, curve = self.train_plainly(4, items)
        assert torch.allclose(flatten(training.network), flatten(network), rtol=1e-4, atol=1e-6)
        assert outcome.learning_curve.tolist() == pytest.approx(curve, abs=1e-6)
        assert outcome.predictions.sum(axis=1) == pytest.approx(1, abs=1e-6)

    def test_goes_on_from_a_pause_as_if_there_had_been_none(self):
        paused, through = begin(), begin()
        assert paused.advance(1, GO_ON) is None
        assert len(paused.learning_curve) == 1
        assert paused.advance(4, GO_ON).predictions.tobytes() == through.advance(4, GO_ON).predictions.tobytes()

    def test_ends_before_the_next_batch_when_it_is_told_to(self):
        outcome = begin().advance(4, np.ones(1, np.int64))
        assert outcome.reason == "stopped (in epoch 1 of 4)"
        assert outcome.predictions.size == 0

    def test_says_that_and_where_it_diverged(self):
        outcome = begin(learning_rate=1e30, schedule="constant").advance(4, GO_ON)
        assert outcome.reason == "diverged: validation loss nan after epoch 1 of 4"

    def test_augments_training_items_only_and_all_of_them_once_an_epoch(self):
        seen = []
        begin(augment=lambda x, _: seen.append(len(x)) or x).advance(4, GO_ON)
        assert sum(seen) == 4 * 50

    def test_mixes_the_items_of_a_batch_where_it_is_told_to(self):
        inputs = []

        class Watched(nn.Linear):
            def forward(self, x):
                inputs.append(x.detach()) if self.training else None
                return super().forward(x)

        items = make_items()
        begin(items=items, network=Watched(4, 3), mixup=0.4, epochs=1).advance(1, GO_ON)
        mixed = torch.cat(inputs)
        assert mixed.shape == items.x_train.shape
        assert not torch.isclose(mixed.sort(dim=0).values, items.x_train.sort(dim=0).values).all()
        assert torch.allclose(mixed.sum(), items.x_train.sum(), atol=1e-3)  # lam x + (1 - lam) flipped x


class TestRecipes:
    @pytest.mark.parametrize(
        ("items", "batch_size", "batches"),
        [(50, 16, 4), (64, 16, 4), (10, 256, 2), (2, 16, 2), (1, 16, 1), (17, 16, 3)],
    )
    def test_a_batch_is_at_most_half_of_the_items(self, items, batch_size, batches):
        assert make_recipe(CONFIGURATION | {"batch_size": batch_size}, items, 3).batches == batches

    @pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
    @pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
    def test_no_schedule_leaves_0_to_the_learning_rate(self, schedule, steps):
        rates = draw_schedule(0.5, schedule, steps)
        assert rates.shape == (steps,)
        assert (rates > 0).all()
        assert (rates <= 0.5).all()

    def test_cosine_falls_to_nothing_after_a_short_rise(self):
        rates = draw_schedule(1.0, "cosine", 40)
        assert rates[:2] == pytest.approx([0.5, (1 + math.cos(math.pi / 40)) / 2])
        assert rates[20] == pytest.approx(0.5)
        assert rates[39] == pytest.approx((1 + math.cos(math.pi * 39 / 40)) / 2)

    def test_only_weights_decay(self):
        recipe = make_recipe(CONFIGURATION, 50, 1)
        decayed, others = build_optimizer(make_network(), recipe).param_groups
        assert [p.ndim for p in decayed["params"]] == [2, 2]
        assert [p.ndim for p in others["params"]] == [1, 1, 1, 1]
        assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def test_many_items_are_predicted_part_by_part():
    x = torch.randn(600, 4)
    network = make_network()
    assert torch.allclose(predict_logits(network, x), network(x), atol=1e-6)
