"""The stacked engine: configurations x folds in groups of similar networks, each trained as one population; for a GPU.

The one thing to know: grouping changes the speed and the rounding, not the result. Initial parameters, mini-batch order
and masks of dropout are those of the compiled kernel, so both follow the same path, with dropout too, up to rounding.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.devices import memory_errors
from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray, FoldOutcome
from metaflow_hpo.learners.limits import POLL_S, Limits, Stopwatch
from metaflow_hpo.learners.mlp.population import CHUNK, Member, Population, Rows
from metaflow_hpo.learners.mlp.recipe import Recipe, Start, Trained, to_outcome
from metaflow_hpo.learners.threads import describe_memory_error, single_threaded_torch
from metaflow_hpo.modalities.modality import Fold

GRID = 1.19
"""Networks whose batch and widths round up to the same powers of this are trained together."""
CPU_MB = 512.0
"""Memory of one population on the CPU: more than its caches hold makes it slower, not faster."""
GPU_FRACTION = 0.7
"""Of the free memory of a GPU, for one population."""

Draw = Callable[[int, int], Start]


def train_population(
    folds: Sequence[Fold],
    recipes: Sequence[Sequence[Recipe]],
    draw: Draw,
    costs: NDArray[np.float64],
    limits: Limits,
    device: torch.device,
) -> Iterator[tuple[int, list[FoldOutcome]]]:
    """Train every configuration on every fold, the most expensive group first.

    The seconds of a group are divided among its networks by their costs. A group for which the memory of the device is
    not enough is halved; a network that is too large by itself is a failed outcome.

    Args:
        folds: The splits, with the same columns and classes.
        recipes: One a configuration and fold.
        draw: Draws the start of configuration `i` on fold `f`.
        costs: Expected relative cost of each network, `(N, F)`.
        limits: What each configuration may cost.
        device: Where.

    Yields:
        `(i, one outcome a fold)` as each configuration is finished.

    Raises:
        MetaflowHPOError: If the rows do not fit into the memory of the device.
    """
    members = [
        Member(index, number, recipe, len(folds[number].x_train), len(folds[number].x_valid))
        for index, row in enumerate(recipes)
        for number, recipe in enumerate(row)
    ]
    if not members:
        return
    try:
        with memory_errors():
            rows = [Rows.gather(folds, device, validation=validation) for validation in (False, True)]
    except MemoryError as error:
        raise MetaflowHPOError(
            f"The rows do not fit into the memory of '{device}' ({error}): use fewer rows, or engine='numba'."
        ) from error
    trainer = _Trainer(rows[0], rows[1], draw, costs, limits, Stopwatch(len(recipes), limits.seconds))
    done: dict[int, dict[int, FoldOutcome]] = defaultdict(dict)
    for outcomes in trainer.train(members, device):
        for member, outcome in outcomes:
            done[member.index][member.number] = outcome
            if len(done[member.index]) == len(folds):
                finished = done.pop(member.index)
                yield member.index, [finished[number] for number in range(len(folds))]


def measure_mb(member: Member) -> float:
    """Return the memory of one network in a population of its like, in MB, without the folds."""
    epochs, widths = len(member.recipe.learning_rates), member.recipe.widths
    passed = max(member.recipe.batch, min(CHUNK, member.scored)) * GRID
    numbers = 7 * member.recipe.parameters * GRID**2  # drawn, trained, two moments, gradient, scratch
    numbers += (2 * epochs + 4) * member.rows + 8 * member.scored * widths[-1]  # the row order while it is drawn
    numbers += 6 * passed * sum(widths) * GRID  # outputs and their gradients, hashes of the masks
    return numbers * 4 / 1e6


def plan_groups(members: Sequence[Member], costs: NDArray[np.float64], room_mb: float) -> list[list[Member]]:
    """Group networks of the same depth and activation and similar batch and widths, as many as the memory holds.

    Returns:
        Groups, the most expensive first, each sorted by mini-batches in an epoch, the most first.
    """
    similar: dict[tuple[object, ...], list[Member]] = defaultdict(list)
    for member in members:
        sizes = (member.recipe.batch, *member.recipe.widths[1:-1])
        key = (member.recipe.activation, *(math.ceil(math.log(size, GRID) - 1e-9) for size in sizes))
        similar[key].append(member)
    groups: list[list[Member]] = []
    for alike in similar.values():
        alike.sort(key=lambda member: (-member.steps, member.index, member.number))
        count = max(int(room_mb / max(map(measure_mb, alike))), 1)
        groups += [alike[start : start + count] for start in range(0, len(alike), count)]
    return sorted(groups, key=lambda group: -sum(costs[member.index, member.number] for member in group))


def find_room_mb(device: torch.device) -> float:
    """Return the memory one population may take."""
    if device.type != "cuda":
        return CPU_MB
    free, _ = torch.cuda.mem_get_info(device)
    return free * GPU_FRACTION / 1e6


@dataclass(frozen=True)
class _Trainer:
    """What all groups of a call share."""

    train_rows: Rows
    valid_rows: Rows
    draw: Draw
    costs: NDArray[np.float64]
    limits: Limits
    stopwatch: Stopwatch

    def train(self, members: Sequence[Member], device: torch.device) -> Iterator[list[tuple[Member, FoldOutcome]]]:
        """Yield the outcomes of one group after the other."""
        needed_mb: dict[int, float] = defaultdict(float)
        for member in members:
            needed_mb[member.index] = max(needed_mb[member.index], measure_mb(member))
        reasons = {index: self.limits.describe_memory(needed) for index, needed in needed_mb.items()}
        yield [(m, FoldOutcome.failed(reasons[m.index], 0.0)) for m in members if reasons[m.index]]
        groups = plan_groups([m for m in members if not reasons[m.index]], self.costs, find_room_mb(device))
        while groups:
            group, *groups = groups
            try:
                with memory_errors(), single_threaded_torch():
                    outcomes = _Run(self, group).train()
            except MemoryError as error:
                if len(group) > 1:
                    groups = [group[: len(group) // 2], group[len(group) // 2 :], *groups]
                    continue
                outcomes = [(group[0], FoldOutcome.failed(describe_memory_error(error), 0.0))]
            yield outcomes


@dataclass
class _Progress:
    """How far one network of a group has come."""

    member: Member
    seconds: float = 0.0
    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def measured(self, outputs: FloatArray | None = None) -> Trained:
        """Return what an engine returns; without outputs for a training that has failed."""
        outputs = np.empty((0, self.member.recipe.widths[-1]), np.float32) if outputs is None else outputs
        return outputs, np.array(self.scores, np.float32), np.array(self.losses)


class _Run:
    """The training of one group; networks that diverge or run out of time leave the others alone."""

    def __init__(self, trainer: _Trainer, group: Sequence[Member]) -> None:
        self.trainer, self.clock = trainer, time.perf_counter()
        starts = [trainer.draw(member.index, member.number) for member in group]
        self.population = Population(group, starts, trainer.train_rows, trainer.valid_rows)
        self.running = [_Progress(member) for member in group]
        self.outcomes: list[tuple[Member, FoldOutcome]] = []

    def train(self) -> list[tuple[Member, FoldOutcome]]:
        """Train until every network has an outcome."""
        for epoch in range(len(self.running[0].member.recipe.learning_rates)):
            self.population.train_epoch(epoch, self._go_on)
            self._charge()
            self._retire([self._is_over(progress) for progress in self.running])
            if not self.running:
                return self.outcomes
            outputs, scores, losses = self.population.validate()
            self._charge()
            for progress, score, loss in zip(self.running, scores.tolist(), losses.tolist(), strict=True):
                progress.scores.append(score)
                progress.losses.append(loss)
            diverged = ~(losses <= MAX_LOSS)
            outputs = outputs[torch.from_numpy(~diverged).to(outputs.device)]
            self._retire(diverged.tolist())
            if not self.running:
                return self.outcomes
        for progress, output in zip(self.running, outputs.cpu().numpy(), strict=True):
            self._finish(progress, progress.measured(output[: progress.member.scored]))
        return self.outcomes

    def _go_on(self) -> bool:
        if time.perf_counter() - self.clock > POLL_S:
            self._charge()
        return not all(map(self._is_over, self.running))

    def _is_over(self, progress: _Progress) -> bool:
        return self.trainer.stopwatch.is_over(progress.member.index)

    def _charge(self) -> None:
        """Divide the seconds since the last time among the networks that train."""
        now = time.perf_counter()
        costs = [self.trainer.costs[progress.member.index, progress.member.number] for progress in self.running]
        for progress, cost in zip(self.running, costs, strict=True):
            share = (now - self.clock) * cost / sum(costs)
            progress.seconds += share
            self.trainer.stopwatch.add(progress.member.index, share)
        self.clock = now

    def _retire(self, which: Sequence[bool]) -> None:
        if not any(which):
            return
        for progress, gone in zip(self.running, which, strict=True):
            if gone:
                self._finish(progress, progress.measured())
        rows = [row for row, gone in enumerate(which) if not gone]
        self.running = [self.running[row] for row in rows]
        self.population.keep(rows)

    def _finish(self, progress: _Progress, trained: Trained) -> None:
        outcome = to_outcome(trained, progress.member.recipe, progress.seconds, self.trainer.limits)
        self.outcomes.append((progress.member, outcome))
