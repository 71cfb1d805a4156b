"""Step 4 of the pipeline: evaluate what the candidate recommends, on held-out families and by training it."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.actions.candidate import read_candidate
from metaflow_hpo.actions.fit import make_fit_settings, one_learning, read_core_and_trials
from metaflow_hpo.actions.incumbent import find_incumbent
from metaflow_hpo.actions.model_card import describe_version, keep_card
from metaflow_hpo.actions.realised import realise
from metaflow_hpo.adapters.evaluation_files import Findings, write_findings, write_learning_curve
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline, logger
from metaflow_hpo.errors import MetaflowHPOError

if TYPE_CHECKING:
    from metaflow_hpo.recommender.recommender import Recommender


def evaluate(pipeline: Pipeline, *, learning_curve: bool = False) -> Metadata:
    """Evaluate the candidate leave-family-out, train what it recommends on held-out tasks, and decide the gate.

    Args:
        pipeline: The surroundings.
        learning_curve: Fit surrogates on fewer past tasks as well, which takes about twice as long as a fit.
    """
    with one_learning(pipeline):
        return _evaluate(pipeline, learning_curve=learning_curve)


def _evaluate(pipeline: Pipeline, *, learning_curve: bool) -> Metadata:
    from metaflow_hpo.recommender.recommender import Recommender

    candidate = read_candidate(pipeline)
    recommender = Recommender.load(pipeline.store.surrogate_folder)
    if recommender.surrogate is None:
        return _evaluate_plain(pipeline, candidate, recommender, learning_curve=learning_curve)
    findings = _find(pipeline, recommender, candidate["version"])
    if learning_curve:
        write_learning_curve(pipeline.store, candidate["meta_dataset_md5"], _measure_learning_curve(pipeline))
    results = write_findings(pipeline.store, findings, candidate)
    describe_version(pipeline, recommender, findings, results)
    _publish(pipeline, results)
    return {
        **results,
        "summary": findings.summary,
        "gains": findings.realised.gains,
        "realised": findings.realised.per_task,
    }


def _evaluate_plain(
    pipeline: Pipeline, candidate: dict[str, Any], recommender: "Recommender", *, learning_curve: bool
) -> Metadata:
    """Evaluate a candidate without networks."""
    from metaflow_hpo.actions.plain_evaluation import evaluate_plain

    if learning_curve:
        raise MetaflowHPOError(
            f"Expected a surrogate with networks for a learning curve; {pipeline.registry.name} has none. Leave "
            "--learning-curve out."
        )
    results = evaluate_plain(pipeline, candidate, recommender)
    keep_card(pipeline, candidate["version"], results.pop("card"), results.pop("tags"))
    _publish(pipeline, results)
    return results


def _publish(pipeline: Pipeline, results: dict[str, Any]) -> None:
    """Put what was found beside the fit in MLflow, and say what the gate decided."""
    run = pipeline.tracking.resume(results["run_id"])
    run.log_metrics(results["metrics"])
    run.set_tags({f"gate.{name}": results[name] for name in ("promoted", "reason", "incumbent", "incumbent_note")})
    if results["promoted"]:
        logger.info("Version %d passes the gate. %s", results["version"], results["reason"])
    else:
        logger.warning("The gate refuses version %d. %s", results["version"], results["reason"])
    run.log_folder(pipeline.store.evaluation_folder, "evaluation")


def _find(pipeline: Pipeline, recommender: "Recommender", version: int) -> Findings:
    from metaflow_hpo.evaluate.ablation import ablate
    from metaflow_hpo.evaluate.calibration import measure_reliability, measure_replayed, nonconformity
    from metaflow_hpo.evaluate.early_stopping import measure_stopping
    from metaflow_hpo.evaluate.effort import measure_effort
    from metaflow_hpo.evaluate.evaluation import evaluate_leave_family_out, summarise
    from metaflow_hpo.evaluate.gate import decide
    from metaflow_hpo.evaluate.noise_floor import measure_noise_floor
    from metaflow_hpo.evaluate.prediction_error import measure_prediction_error
    from metaflow_hpo.evaluate.tuning_evidence import measure_forecasts

    meta, surrogate = recommender.history, recommender.require_surrogate()
    evaluation = evaluate_leave_family_out(meta, surrogate, tuning=recommender.tuning)
    fold_of_task = {t: surrogate.fold_of_family[f] for t, f in zip(meta.task_ids, meta.families, strict=True)}
    if surrogate.knows_ends:
        scores = nonconformity(meta, surrogate, evaluation.orders)
    else:  # the networks tell places; what is expected comes from past tasks
        scores = measure_replayed(recommender, counts=(0,)).get(0, {})
    families = dict(zip(meta.task_ids, meta.families, strict=True))
    realised = realise(
        pipeline,
        recommender,
        {task_id: families[task_id] for task_id in evaluation.orders},
        lambda tasks, k: {t: [meta.configurations[c] for c in evaluation.orders[t][:k]] for t in tasks},
    )
    trials = pipeline.store.read_meta_dataset()
    incumbent = find_incumbent(pipeline, meta, version, recommender.tuning)
    if incumbent.note:
        logger.info("Not compared with an incumbent. %s", incumbent.note)
    return Findings(
        evaluation=evaluation,
        summary=summarise(evaluation.per_task),
        realised=realised,
        tuning=measure_forecasts(recommender),
        coverage=measure_reliability(scores, fold_of_task),
        prediction_error=measure_prediction_error(meta, surrogate, evaluation.orders),
        ablation=ablate(meta, surrogate, evaluation.trusts),
        effort=measure_effort(meta, surrogate, evaluation.trusts),
        noise_floor=measure_noise_floor(trials, meta, surrogate.learner, evaluation.orders),
        stopping=measure_stopping(trials, meta, surrogate, evaluation.trusts),
        verdict=decide(evaluation.per_task, incumbent.regret, incumbent.name, realised.per_task),
        incumbent=incumbent,
    )


def _measure_learning_curve(pipeline: Pipeline) -> pd.DataFrame:
    from metaflow_hpo.evaluate.learning_curve import measure_learning_curve

    meta, trials = read_core_and_trials(pipeline)
    settings = pipeline.settings
    return measure_learning_curve(
        meta,
        trials,
        pipeline.learner.name,
        make_fit_settings(settings),
        on_fit=lambda done, total: pipeline.progress("surrogates on fewer tasks", done, total),
    )
