"""The base of learners that train networks: one says how items become tensors, what the network is, how to augment."""

import threading
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.anchored import read_anchors
from metaflow_hpo.learners.devices import Device, find_device, memory_errors
from metaflow_hpo.learners.fold import FoldOutcome, make_rng, score_weights
from metaflow_hpo.learners.isolation import ThreadedLearner
from metaflow_hpo.learners.learner import Judge, check_request
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits
from metaflow_hpo.learners.networks.encoder import Encoder
from metaflow_hpo.learners.stages import train_in_stages
from metaflow_hpo.learners.threads import single_threaded_torch, train_in_threads
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration

if TYPE_CHECKING:
    import torch

    from metaflow_hpo.learners.networks.training import Encoded, Recipe, Training

_EncoderT = TypeVar("_EncoderT", bound=Encoder)

_BUILDING = threading.Lock()
"""Networks draw their initial weights from a stream that all threads share: one is built at a time."""
_ENCODINGS_KEPT = 8


@dataclass(frozen=True)
class NetworkLearner(ThreadedLearner, Generic[_EncoderT]):
    """A learner whose configurations are networks, one trained on each core.

    A subclass has the class variables `name`, `modalities`, `space` (see `join_space`) and `fidelity` in epochs, and
    the methods below. It must not import torch where it is imported itself.

    Attributes:
        workers: Threads; None for one a processor.
        limits: What one trial may cost.
        device: Where it trains; `auto` takes a GPU if there is one.
    """

    workers: int | None = None
    limits: Limits = NO_LIMITS
    device: Device = "auto"

    encoded_by: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters that `fit_encoder` looks at: configurations that share their values share the tensors."""
    clip: ClassVar[float] = 0.0
    """Largest norm of the gradient; 0 for no limit."""

    @property
    def anchors(self) -> tuple[Configuration, ...]:
        """What did well on other tasks; see `Anchored`."""
        return read_anchors(self.name, self.space)

    @abstractmethod
    def fit_encoder(self, x_train: NDArray[Any], configuration: Configuration) -> _EncoderT:
        """Learn from training items how items become a tensor.

        Args:
            x_train: `Fold.x_train`.
            configuration: Only the hyperparameters in `encoded_by` may play a role.
        """

    @abstractmethod
    def read_encoder(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> _EncoderT:
        """Return the encoder whose `to_state` this was."""

    @abstractmethod
    def build(self, configuration: Configuration, encoder: _EncoderT, classes: int) -> "torch.nn.Module":
        """Build the network: encoded items `(B, ...)` to logits `(B, classes)`.

        Initial weights may come from PyTorch's own stream; dropout must be `blocks.Dropout`.
        """

    @abstractmethod
    def measure_cost(self, configuration: Configuration, shape: tuple[int, ...], classes: int) -> float:
        """Return about how many multiplications it takes to pass one item once, plus a share for the work around them.

        Args:
            configuration: A configuration.
            shape: Of one prepared item, `Fold.x_train.shape[1:]`.
            classes: Number of classes.
        """

    def augment(self, x: "torch.Tensor", configuration: Configuration, generator: "torch.Generator") -> "torch.Tensor":
        """Return encoded training items `(n, ...)` changed at random, each on its own; `x` may be changed in place.

        Args:
            x: Some hundred items, in random order, a copy.
            configuration: Says how strongly.
            generator: What to draw from, of the device of `x`.
        """
        return x

    def measure_costs(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int
    ) -> NDArray[np.float64]:
        """Return the expected relative cost of each training, `(N, F)`."""
        costs = [
            [
                self.measure_cost(configuration, fold.x_train.shape[1:], fold.classes) * len(fold.x_train)
                for fold in folds
            ]
            for configuration in configurations
        ]
        return np.array(costs, np.float64).reshape(len(configurations), len(folds))

    def train_folds(
        self,
        folds: Sequence[Fold],
        configurations: Sequence[Configuration],
        *,
        seed: int,
        epochs: int,
        judge: Judge | None = None,
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        """Train every configuration on every fold; see `ArrayLearner.train_folds`.

        Raises:
            SearchSpaceMismatchError: If a configuration or `epochs` is outside the search space.
            MetaflowHPOError: If `device` is `cuda` and there is none.
        """
        chosen = check_request(self.space, self.fidelity, configurations, epochs)
        device = find_device(self.device)
        return self._train_folds(Encodings(self, folds, device), chosen, seed, epochs, judge)

    def _train_folds(
        self,
        encodings: "Encodings",
        chosen: Sequence[Configuration],
        seed: int,
        epochs: int,
        judge: Judge | None,
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        if not chosen:
            return
        costs = self.measure_costs(encodings.folds, chosen, epochs)

        def begin(index: int, number: int) -> "Training":
            return self.begin(encodings, number, chosen[index], seed=seed, epochs=epochs)

        def train_member(index: int, number: int, stop: Flag) -> FoldOutcome:
            outcome = begin(index, number).advance(epochs, stop)
            return outcome or FoldOutcome.failed("stopped", 0.0)

        with single_threaded_torch():
            if judge is None:
                yield from train_in_threads(train_member, costs, self.workers, self.limits)
            else:
                yield from train_in_stages(begin, costs, epochs, judge, self.workers, self.limits)

    def draw_network(
        self, configuration: Configuration, encoder: _EncoderT, classes: int, seed: int = 0
    ) -> "torch.nn.Module":
        """Build a network with initial weights that depend on the seed alone."""
        import torch

        with _BUILDING, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.build(configuration, encoder, classes)

    def begin(
        self, encodings: "Encodings", number: int, configuration: Configuration, *, seed: int, epochs: int
    ) -> "Training":
        """Begin the training of one network on one fold."""
        import torch

        from metaflow_hpo.learners.networks.blocks import draw_from
        from metaflow_hpo.learners.networks.training import Training, make_recipe

        began = time.perf_counter()
        fold, device = encodings.folds[number], encodings.device
        rng = make_rng(seed, configuration, fold.number)
        with memory_errors():
            encoder, items = encodings.get(number, configuration)
            network = self.draw_network(configuration, encoder, fold.classes, int(rng.integers(2**63))).to(device)
            generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
            draw_from(network, generator)
            recipe = make_recipe(configuration, len(fold.y_train), epochs, self.clip)
            self._check_memory(network, items, recipe)
            training = Training(
                network,
                items,
                recipe,
                generator,
                lambda x, stream: self.augment(x, configuration, stream),
                self.limits,
            )
            training.duration_s = time.perf_counter() - began
            return training

    def _check_memory(self, network: "torch.nn.Module", items: "Encoded", recipe: "Recipe") -> None:
        """Refuse a training beyond the limit before it begins."""
        from metaflow_hpo.learners.networks.training import measure_mb

        if self.limits.memory_mb is not None:
            too_much = self.limits.describe_memory(measure_mb(network, items, recipe))
            if too_much:
                raise MemoryError(too_much.removeprefix("memory: "))


@dataclass
class _Slot:
    """One encoding, made by the first who needs it while the others wait."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: "tuple[Any, Encoded] | None" = None


class Encodings:
    """The folds as tensors, kept for the configurations that share them."""

    def __init__(self, learner: NetworkLearner[Any], folds: Sequence[Fold], device: "torch.device") -> None:
        self.learner, self.folds, self.device = learner, folds, device
        self._slots: OrderedDict[tuple[Any, ...], _Slot] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int, configuration: Configuration) -> "tuple[Any, Encoded]":
        """Return the encoder of a fold and what it makes of the items."""
        key = (number, *(configuration.get(name) for name in self.learner.encoded_by))
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > _ENCODINGS_KEPT:
                self._slots.popitem(last=False)
        with slot.lock:
            if slot.made is None:
                slot.made = self._encode(self.folds[number], configuration)
            return slot.made

    def _encode(self, fold: Fold, configuration: Configuration) -> "tuple[Any, Encoded]":
        import torch

        from metaflow_hpo.learners.networks.training import Encoded

        encoder = self.learner.fit_encoder(fold.x_train, configuration)
        x_train, x_valid = (encoder.encode(x).to(self.device) for x in (fold.x_train, fold.x_valid))
        y_train, y_valid = (torch.tensor(y, device=self.device) for y in (fold.y_train, fold.y_valid))
        weights = torch.from_numpy(score_weights(fold)).to(self.device)
        return encoder, Encoded(x_train, y_train, x_valid, y_valid, weights)
