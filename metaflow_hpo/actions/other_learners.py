"""The learners of other modalities, and those whose runs are imported, one after the other to a champion of each.

What ships of such a learner is part of what it learns from, so that a few tasks of one's own do not replace it.
"""

from metaflow_hpo.actions.collect import join_tasks
from metaflow_hpo.actions.evaluate import evaluate
from metaflow_hpo.actions.fit import fit
from metaflow_hpo.actions.promote import promote
from metaflow_hpo.adapters.evaluation_files import read_results
from metaflow_hpo.adapters.kept_trials import read_card
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline, logger, record_stages
from metaflow_hpo.errors import MetaflowHPOError

STAGES = ("meta_dataset", "surrogate", "recommendation_evaluation", "champion")


def find_others(pipeline: Pipeline) -> list[Pipeline]:
    """Return the surroundings of each learner but the settings' own that searches tasks here, or is imported."""
    is_collected = pipeline.store.catalogue_path.is_file()
    modalities = sorted(pipeline.store.read_catalogue()["modality"].unique()) if is_collected else []
    others = [(pipeline.on(modality), modality) for modality in modalities]
    found = [other for other, modality in others if other is not pipeline and other.trains_on(modality)]
    known = {other.learner_name for other in found}
    imported = [one.learner for one in pipeline.settings.imports if one.learner not in known]
    return [*found, *(pipeline.tuning(name) for name in imported if read_card(pipeline.cards, name) is not None)]


def learn_others(pipeline: Pipeline) -> dict[str, Metadata]:
    """Join, fit, evaluate and promote for each learner of `find_others`; one that cannot be holds up no other.

    Returns:
        Of each learner: `version`, `promoted` and `reason`, or only the reason why nothing was learned.
    """
    reports: dict[str, Metadata] = {}
    for other in find_others(pipeline):
        try:
            reports[other.learner_name] = _learn(other)
        except MetaflowHPOError as error:
            logger.warning("Nothing is learned of %s: %s", other.learner_name, error)
            reports[other.learner_name] = {"reason": str(error)}
    return reports


def _learn(pipeline: Pipeline) -> Metadata:
    joined = join_tasks(pipeline)
    candidate = fit(pipeline, incremental=True)
    if not _is_evaluated(pipeline, candidate["version"]):
        evaluate(pipeline)
    record = promote(pipeline)
    recorded = record_stages(pipeline, STAGES)
    counts = {name: joined[name] for name in ("tasks", "families", "trials")}
    return {**counts, "version": candidate["version"], **{n: record[n] for n in ("promoted", "reason")}, **recorded}


def _is_evaluated(pipeline: Pipeline, version: int) -> bool:
    try:
        return bool(read_results(pipeline.store)["version"] == version)
    except MetaflowHPOError:
        return False
