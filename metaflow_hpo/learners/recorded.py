"""A learner as it was recorded: its trials teach and are served where its code cannot be imported."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.learner import Fidelity, Judge, Learner, Outcome
from metaflow_hpo.space import Configuration, SearchSpace


@dataclass(frozen=True)
class RecordedLearner:
    """What is known of a learner without its code; it trains nothing. See `Learner`.

    Attributes:
        name: Its name.
        modalities: Kinds of inputs it trains on; empty for any.
        space: The search space.
        fidelity: Unit and maximum of the training effort.
    """

    name: str
    modalities: tuple[str, ...]
    space: SearchSpace
    fidelity: Fidelity

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> "RecordedLearner":
        """Read what `to_card` wrote.

        Raises:
            KeyError: If it lacks a part.
            SearchSpaceMismatchError: If its search space is none.
        """
        fidelity = Fidelity(card["fidelity"]["unit"], card["fidelity"]["maximum"])
        return cls(card["name"], tuple(card["modalities"]), SearchSpace.from_json(card["space"]), fidelity)

    def train(
        self,
        data: Any,
        configurations: Sequence[Configuration],
        *,
        fidelity: int,
        seed: int,
        judge: Judge | None = None,
        refit: bool = False,
    ) -> Iterator[tuple[int, Outcome]]:
        """Refuse to train.

        Raises:
            MetaflowHPOError: Always.
        """
        raise MetaflowHPOError(
            f"Expected the code of the learner {self.name!r} to train with; only its trials are known here. Give its "
            "command (`search --command ... --space ...`), or --learner module:attribute."
        )


def to_card(learner: Learner) -> dict[str, Any]:
    """Return what a learner is, JSON-ready; with a digest of its `code`, where it knows one."""
    fidelity = {"unit": learner.fidelity.unit, "maximum": learner.fidelity.maximum}
    card = {"name": learner.name, "modalities": list(learner.modalities), "fidelity": fidelity}
    code = getattr(learner, "code", None)
    return {**card, "space": learner.space.to_json(), **({} if code is None else {"code": code})}
