"""The model card in the registry: description and tags of a version, and a file among the run's artifacts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metaflow_hpo.adapters.evaluation_files import Findings
from metaflow_hpo.adapters.files import write_text
from metaflow_hpo.adapters.pipeline import Pipeline

if TYPE_CHECKING:
    from metaflow_hpo.recommender.recommender import Recommender

CARD_FILE = "model_card.md"


def describe_version(
    pipeline: Pipeline, recommender: "Recommender", findings: Findings, results: dict[str, Any]
) -> str:
    """Write the card into the evaluation's folder and onto the version, and return it.

    Args:
        pipeline: The surroundings.
        recommender: What was evaluated.
        findings: What was found.
        results: What `write_findings` returned.
    """
    from metaflow_hpo.evaluate.model_card import CardFacts, card_tags, write_card

    facts = CardFacts(
        name=pipeline.registry.name,
        version=int(results["version"]),
        learner=recommender.require_surrogate().learner,
        past=recommender.history,
        summary=findings.summary,
        gains=findings.realised.gains,
        covered=findings.covered,
        error=float(findings.prediction_error["recommended"].mean()),
        verdict=findings.verdict,
        degenerate=results["degenerate_tasks"],
        lineage=recommender.lineage,
    )
    card = write_card(facts)
    keep_card(pipeline, facts.version, card, card_tags(facts))
    return card


def keep_card(pipeline: Pipeline, version: int, card: str, tags: Mapping[str, str]) -> None:
    """Write a card into the evaluation's folder, and onto the version with the numbers that tell versions apart."""
    write_text(pipeline.store.evaluation_folder / CARD_FILE, card)
    pipeline.registry.describe(version, card, tags)
