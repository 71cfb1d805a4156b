"""Step 4 of the pipeline: promote the candidate where the gate passed it, and ask the champion a question.

The one thing to know: what is promoted is the registered version that was evaluated; nothing is trained in between.
"""

from collections.abc import Sequence
from typing import Any

from metaflow_hpo.actions.candidate import read_candidate
from metaflow_hpo.actions.fit import one_learning
from metaflow_hpo.adapters.evaluation_files import read_results
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline
from metaflow_hpo.adapters.registry import CHAMPION
from metaflow_hpo.errors import MetaflowHPOError

GOLDEN_COUNT = 5
"""Configurations that the golden request asks for."""


def promote(pipeline: Pipeline) -> Metadata:
    """Move the alias `champion` to the evaluated candidate if the gate passed it; otherwise keep the champion."""
    with one_learning(pipeline):
        return _promote(pipeline)


def _promote(pipeline: Pipeline) -> Metadata:
    results, candidate = read_results(pipeline.store), read_candidate(pipeline)
    if results["version"] != candidate["version"]:
        raise MetaflowHPOError(
            f"Version {candidate['version']} has not been evaluated, version {results['version']} has. "
            "Run `metaflow-hpo evaluate` first."
        )
    registry, version = pipeline.registry, int(results["version"])
    if results["promoted"] and registry.is_withdrawn(version):
        remedy = f"bring it back with `metaflow-hpo promote {version}`."
        results |= {"promoted": False, "reason": f"A person has replaced version {version}; {remedy}"}
    elif results["promoted"]:
        registry.promote(version, results["reason"])
    elif registry.champion() is None or registry.require_champion().version != version:
        registry.reject(version, results["reason"])
    champion = registry.champion()
    record = {
        "name": registry.name,
        "version": None if champion is None else champion.version,
        "candidate": version,
        "promoted": results["promoted"],
        "reason": results["reason"],
        "meta_dataset_md5": results["meta_dataset_md5"],
    }
    pipeline.store.write_champion(record)
    return record


def answer_golden_request(pipeline: Pipeline) -> dict[str, Any]:
    """Ask the champion, as downloaded from the registry, for a past task: the check that it can be served."""
    served = pipeline.registry.load(CHAMPION)
    values: Sequence[float] = served.past.meta_features[0].tolist()
    return served.recommend(dict(zip(served.meta_feature_names, values, strict=True)), k=GOLDEN_COUNT)
