"""A population: many networks trained step by step as one, each a slice of the same PyTorch tensors.

The one thing to know: networks of different widths share a tensor, padded with zeros. Padding stays zero by itself: a
unit without weights outputs act(0) = 0, so it sends nothing on and gets no gradient. Members are sorted by mini-batches
in an epoch, so that those which still have one to do are the first `a` slices. `M` members, `B` rows, `P` parameters.
"""

# ruff: noqa: N806 - W are weights
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from metaflow_hpo.learners.fold import FloatArray, score_weights
from metaflow_hpo.learners.mlp.recipe import Recipe, Start
from metaflow_hpo.modalities.modality import Fold

CHUNK = 512  # validation rows passed at once
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Rows:
    """The rows of all folds, end to end on the device; those of fold `f` start at `starts[f]`.

    Attributes:
        x: `(n, D)`.
        y: `(n,)`, int64 classes or float32 target.
        weights: `(n,)` float64, see `score_weights`; of validation rows only.
        starts: `(F,)`.
    """

    x: torch.Tensor
    y: torch.Tensor
    weights: torch.Tensor
    starts: list[int]

    @classmethod
    def gather(cls, folds: Sequence[Fold], device: torch.device, *, validation: bool) -> "Rows":
        """Copy the training or the validation rows to the device."""
        x = [fold.x_valid if validation else fold.x_train for fold in folds]
        y = [fold.y_valid if validation else fold.y_train for fold in folds]
        weights = [score_weights(fold) for fold in folds] if validation else [np.empty(0)]
        kind = torch.float32 if folds[0].classes == 0 else torch.int64
        return cls(
            torch.from_numpy(np.concatenate(x)).to(device),
            torch.from_numpy(np.concatenate(y)).to(device, kind),
            torch.from_numpy(np.concatenate(weights)).to(device),
            np.cumsum([0, *map(len, x[:-1])]).tolist(),
        )


@dataclass(frozen=True)
class Traits:
    """In what the members differ, one row a member.

    Attributes:
        rows: Training rows, as `scored`: validation rows, `first_row` and `first_scored`: where they start in `Rows`,
            `batch` and `steps`: rows in a mini-batch and mini-batches in an epoch; all `(M,)` int64.
        momentum: First moment's decay, `(M, 1)`, as `l2`: weight decay in the gradient, `shrinkage`: decoupled weight
            decay, and `adaptive`: 1 for Adam and AdamW, 0 for SGD.
        rates: Learning rates, `(M, E)` float64.
        dropout: `(M, 1, 1)` float64.
        widths: `(M, L + 1)` int32, without padding.
        seed: Of dropout, `(M,)` int32.
    """

    rows: torch.Tensor
    scored: torch.Tensor
    first_row: torch.Tensor
    first_scored: torch.Tensor
    batch: torch.Tensor
    steps: torch.Tensor
    momentum: torch.Tensor
    l2: torch.Tensor
    shrinkage: torch.Tensor
    adaptive: torch.Tensor
    rates: torch.Tensor
    dropout: torch.Tensor
    widths: torch.Tensor
    seed: torch.Tensor

    def take(self, which: "slice | torch.Tensor") -> "Traits":
        """Return some of the members."""
        return Traits(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True)
class Member:
    """One network: configuration `index` on fold `number`, and its training and validation rows."""

    index: int
    number: int
    recipe: Recipe
    rows: int
    scored: int

    @property
    def steps(self) -> int:
        """Mini-batches in an epoch."""
        return -(-self.rows // self.recipe.batch)


class Population:
    """Networks of the same depth and activation, and their optimizers.

    Attributes:
        members: Those that still train.
    """

    def __init__(self, members: Sequence[Member], starts: Sequence[Start], train: Rows, valid: Rows) -> None:
        """Stack networks.

        Args:
            members: Sorted by `steps`, the most first.
            starts: One a member.
            train: Training rows.
            valid: Validation rows.
        """
        self.members, self.starts, self.train, self.valid = list(members), list(starts), train, valid
        recipe = members[0].recipe
        self.device, self.tanh, self.regression = train.x.device, recipe.activation == "tanh", recipe.regression
        self.widths = [max(widths) for widths in zip(*(m.recipe.widths for m in members), strict=True)]
        sizes = [(a + 1) * b for a, b in zip(self.widths[:-1], self.widths[1:], strict=True)]
        self.offsets = np.cumsum([0, *sizes]).tolist()
        self.parameters = torch.from_numpy(self._pad()).to(self.device)  # (M, P)
        self.gradient, self.first, self.second = (torch.zeros_like(self.parameters) for _ in range(3))
        self.traits = self._describe()

    def _pad(self) -> FloatArray:
        padded = np.zeros((len(self.members), self.offsets[-1]), np.float32)
        for row, member, start in zip(padded, self.members, self.starts, strict=True):
            position, own = 0, member.recipe.widths
            for layer, (i, o) in enumerate(itertools.pairwise(own)):
                values = start.parameters[position : position + (i + 1) * o].reshape(i + 1, o)
                position += values.size
                block = row[self.offsets[layer] : self.offsets[layer + 1]].reshape(-1, self.widths[layer + 1])
                block[:i, :o], block[-1, :o] = values[:-1], values[-1]  # the bias after the padding
        return padded

    def _describe(self) -> Traits:
        members = self.members
        recipes = [member.recipe for member in members]
        adaptive = [recipe.optimizer != "sgd" for recipe in recipes]
        decoupled = [recipe.optimizer == "adamw" for recipe in recipes]

        def integers(values: Sequence[int]) -> torch.Tensor:
            return torch.tensor(values, device=self.device)

        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, device=self.device, dtype=torch.float32)[:, None]

        return Traits(
            rows=integers([member.rows for member in members]),
            scored=integers([member.scored for member in members]),
            first_row=integers([self.train.starts[member.number] for member in members]),
            first_scored=integers([self.valid.starts[member.number] for member in members]),
            batch=integers([recipe.batch for recipe in recipes]),
            steps=integers([member.steps for member in members]),
            momentum=column([BETA1 if a else r.momentum for r, a in zip(recipes, adaptive, strict=True)]),
            l2=column([0.0 if d else r.weight_decay for r, d in zip(recipes, decoupled, strict=True)]),
            shrinkage=column([r.weight_decay if d else 0.0 for r, d in zip(recipes, decoupled, strict=True)]),
            adaptive=column(adaptive),
            rates=torch.tensor(np.stack([r.learning_rates for r in recipes]), device=self.device),
            dropout=torch.tensor([r.dropout for r in recipes], device=self.device, dtype=torch.float64)[:, None, None],
            widths=torch.tensor([r.widths for r in recipes], device=self.device, dtype=torch.int32),
            seed=torch.from_numpy(np.array([s.dropout_seed for s in self.starts], np.uint32).view(np.int32)).to(
                self.device
            ),
        )

    def keep(self, which: Sequence[int]) -> None:
        """Give the other members up."""
        index = torch.tensor(which, device=self.device, dtype=torch.int64)
        self.members, self.starts = [self.members[i] for i in which], [self.starts[i] for i in which]
        self.parameters, self.first, self.second = self.parameters[index], self.first[index], self.second[index]
        self.gradient = torch.zeros_like(self.parameters)
        self.traits = self.traits.take(index)

    @torch.no_grad()
    def train_epoch(self, epoch: int, go_on: Callable[[], bool]) -> None:
        """Train one epoch, as long as `go_on`, called before each mini-batch, says so."""
        order = np.zeros((len(self.members), max(member.rows for member in self.members)), np.int64)
        for row, start in zip(order, self.starts, strict=True):
            row[: start.order.shape[1]] = start.order[epoch]
        table = torch.from_numpy(order).to(self.device) + self.traits.first_row[:, None]
        positions = torch.arange(max(member.recipe.batch for member in self.members), device=self.device)
        for step in range(self.members[0].steps):
            if not go_on():
                return
            active = sum(member.steps > step for member in self.members)
            self._train_batch(self.traits.take(slice(active)), table[:active], positions, epoch, step)

    def _train_batch(self, traits: Traits, table: torch.Tensor, positions: torch.Tensor, epoch: int, step: int) -> None:
        ends = torch.minimum((step + 1) * traits.batch, traits.rows)[:, None]
        places = step * traits.batch[:, None] + positions  # (a, B); the last row again where there is none
        rows = table.gather(1, torch.minimum(places, ends - 1))
        share = (places < ends) / (ends - step * traits.batch[:, None]).to(torch.float32)  # 0 for no row
        number = epoch * traits.steps + step + 1
        keys = hash32((traits.seed + number).to(torch.int32))
        outputs = self.forward(self.train.x[rows], traits, keys)
        z, y = outputs[-1], self.train.y[rows]
        if self.regression:
            gradient = 2 * (z - y[..., None])
        else:
            gradient = torch.softmax(z, dim=2)
            gradient.scatter_add_(2, y[..., None], torch.full_like(z[..., :1], -1))
        self._backward(outputs, gradient.mul_(share[..., None]), traits)
        self._update(traits, traits.rates[:, epoch], number)

    def layer(self, flat: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights `(a, in, out)` and the bias `(a, 1, out)` of a layer, as views of `flat` `(a, P)`."""
        block = flat[:, self.offsets[number] : self.offsets[number + 1]].view(len(flat), -1, self.widths[number + 1])
        return block[:, :-1], block[:, -1:]

    def forward(self, x: torch.Tensor, traits: Traits, keys: torch.Tensor | None) -> list[torch.Tensor]:
        """Pass rows, `(a, B, D)`; return them and the outputs of each layer. Without `keys` there is no dropout."""
        passed, last = [x], len(self.widths) - 2
        flat = self.parameters[: len(x)]
        for number in range(last + 1):
            W, b = self.layer(flat, number)
            h = torch.baddbmm(b, passed[-1], W)  # (a, B, out)
            if number < last:
                h = h.tanh_() if self.tanh else h.relu_()
                if keys is not None:
                    self._drop(h, traits, hash32(keys + number), traits.widths[:, number + 1])
            passed.append(h)
        return passed

    def _drop(self, h: torch.Tensor, traits: Traits, keys: torch.Tensor, widths: torch.Tensor) -> None:
        """Zero what the kernel zeroes: the hash of (key, position in the outputs without padding) is below a limit."""
        rows, columns = (torch.arange(size, device=h.device, dtype=torch.int32) for size in h.shape[1:])
        position = keys[:, None, None] + widths[:, None, None] * rows[:, None] + columns  # (a, B, out)
        limit = (traits.dropout * 4294967295.0).to(torch.int64) - 2**31
        # Unsigned comparison by signed numbers: both shifted by 2^31.
        dropped = (hash32(position) ^ -(2**31)) < limit.to(torch.int32)
        h.mul_((1 / (1 - traits.dropout)).to(torch.float32)).masked_fill_(dropped, 0)

    def _backward(self, outputs: list[torch.Tensor], d: torch.Tensor, traits: Traits) -> None:
        """Fill the gradient of the first `a` members, from that of the outputs of the last layer, `(a, B, k)`."""
        scale = (1 / (1 - traits.dropout)).to(torch.float32)
        for number in range(len(self.widths) - 2, -1, -1):
            h = outputs[number]
            into, bias = self.layer(self.gradient[: len(d)], number)
            into.copy_(torch.bmm(h.transpose(1, 2), d))
            torch.sum(d, 1, keepdim=True, out=bias)
            if number > 0:
                W, _ = self.layer(self.parameters[: len(d)], number)
                d = torch.bmm(d, W.transpose(1, 2)).mul_(scale)
                if self.tanh:
                    d.mul_(1 - (h / scale).square_()).masked_fill_((h == 0) & (traits.dropout > 0), 0)
                else:
                    d.masked_fill_(~(h > 0), 0)

    def _update(self, traits: Traits, rates: torch.Tensor, number: torch.Tensor) -> None:
        """Step SGD, Adam and AdamW at once: p <- keep p - rate m / (sqrt(v) c + e), with c = 0 and e = 1 for SGD."""
        p, g, m, v = (flat[: len(rates)] for flat in (self.parameters, self.gradient, self.first, self.second))
        count, rates = number.to(torch.float64)[:, None], rates[:, None]
        c1 = torch.where(traits.adaptive > 0, 1 / (1 - BETA1**count), 1.0)
        c2 = traits.adaptive / (1 - BETA2**count).sqrt()
        g.addcmul_(p, traits.l2)
        m.mul_(traits.momentum).addcmul_(g, torch.where(traits.adaptive > 0, 1 - BETA1, 1.0))
        v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
        p.mul_((1 - rates * traits.shrinkage).to(torch.float32))
        scale = v.sqrt().mul_(c2.to(torch.float32)).add_(torch.where(traits.adaptive > 0, EPS, 1.0))
        p.sub_((m * (rates * c1).to(torch.float32)).div_(scale))

    @torch.no_grad()
    def validate(self) -> tuple[torch.Tensor, FloatArray, NDArray[np.float64]]:
        """Return outputs on the validation rows `(M, m, k)`, and score and loss of each member, `(M,)` both."""
        traits, most = self.traits, max(member.scored for member in self.members)
        outputs = torch.empty(len(self.members), most, self.widths[-1], device=self.device)
        loss, score = (torch.zeros(len(self.members), device=self.device, dtype=torch.float64) for _ in range(2))
        for start in range(0, most, CHUNK):
            places = torch.arange(start, min(start + CHUNK, most), device=self.device)  # (C,)
            here = places < traits.scored[:, None]  # (M, C)
            rows = torch.minimum(places, traits.scored[:, None] - 1) + traits.first_scored[:, None]
            z, y, weights = self.forward(self.valid.x[rows], traits, None)[-1], self.valid.y[rows], self.valid.weights
            outputs[:, start : start + len(places)] = z
            if self.regression:
                errors = (z[..., 0] - y).square()
                gain = errors.double()
            else:
                errors = torch.logsumexp(z, 2) - z.gather(2, y[..., None])[..., 0]
                gain = (z.argmax(2) == y).double()
            loss += torch.where(here, errors.double(), 0).sum(1)
            score += torch.where(here, gain * weights[rows], 0).sum(1)
        score = 1 - score if self.regression else score
        return outputs, score.float().cpu().numpy(), (loss / traits.scored).cpu().numpy()


def hash32(x: torch.Tensor) -> torch.Tensor:
    """Mix 32 bits as the kernel's `hash32` does, in int32: products wrap, and a right shift must not copy the sign."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    return x ^ ((x >> 16) & 0xFFFF)
