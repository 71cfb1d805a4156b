"""Asset checks: what must hold of each asset. The gate blocks everything downstream of the evaluation."""

import dagster as dg
import numpy as np

from metaflow_hpo.actions import feedback, fit, promote
from metaflow_hpo.actions.candidate import read_candidate
from metaflow_hpo.adapters import evaluation_files
from metaflow_hpo.adapters.files import read_frame, read_json
from metaflow_hpo.adapters.versioning import data_md5, is_dvc_repository, recorded_md5
from metaflow_hpo.orchestration import assets
from metaflow_hpo.orchestration.resources import PipelineResource

MAX_FAILED_FRACTION = 0.5
MIN_RANK_CORRELATION = 0.0


@dg.asset_check(asset=assets.dataset_catalogue)
def catalogue_is_complete(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """Ids are unique; every task has a licence, a source and a family."""
    frame = pipeline.open(context).store.read_catalogue()
    named = frame[["licence", "source", "family"]].fillna("").astype(str)
    empty = (named.to_numpy() == "").any(axis=1)
    incomplete = frame.loc[empty, "task_id"].tolist()
    passed = bool(frame["task_id"].is_unique) and not incomplete
    return dg.AssetCheckResult(passed=passed, metadata={"tasks": len(frame), "incomplete": incomplete})


@dg.asset_check(asset=assets.search_results)
def searches_are_complete(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """The budget is spent on every task searched, and at most half of the trials of a task failed."""
    work = pipeline.open(context)
    budget = work.settings.core_trials + work.settings.random_trials
    short, failing = [], {}
    for path in sorted(work.store.data.glob("search_results/*.parquet")):
        frame = read_frame(path)
        if len(frame) < budget:
            short.append(path.stem)
        failed = float((frame["status"] == "failed").mean())
        if failed > MAX_FAILED_FRACTION:
            failing[path.stem] = failed
    return dg.AssetCheckResult(passed=not short and not failing, metadata={"short": short, "failing": failing})


@dg.asset_check(asset=assets.meta_features)
def meta_features_are_finite(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """All numbers are finite, and they are those of the rows the catalogue holds now."""
    store = pipeline.open(context).store
    current = store.read_catalogue().set_index("task_id")["sha256"]
    wrong = []
    for path in sorted(store.data.glob("meta_features/*.parquet")):
        frame = read_frame(path)
        values = frame[[c for c in frame.columns if c.startswith("mf_")]].to_numpy(dtype="float64")
        is_current = path.stem not in current.index or current[path.stem] == frame["task_sha256"].iloc[0]
        if not np.isfinite(values).all() or not is_current:
            wrong.append(path.stem)
    return dg.AssetCheckResult(passed=not wrong, metadata={"wrong": wrong})


@dg.asset_check(asset=assets.meta_dataset)
def families_are_on_one_side(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """No family is on two sides of any split."""
    from metaflow_hpo.surrogate.splits import assign_folds, split_families

    work = pipeline.open(context)
    known = fit.read_families(work)
    families = np.array(known)
    shared: set[str] = set()
    for split in split_families(known, assign_folds(known, work.settings.folds)):
        sides = [set(families[part]) for part in (split.train, split.validation, split.test)]
        shared |= (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
    return dg.AssetCheckResult(passed=not shared, metadata={"shared": sorted(shared), "families": len(set(families))})


@dg.asset_check(asset=assets.meta_dataset)
def version_is_recorded(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """DVC has recorded these very bytes, so that `dvc checkout` brings them back: a warning where it has not."""
    work = pipeline.open(context)
    root, written = work.settings.root, data_md5(work.store.meta_dataset_path)
    recorded = recorded_md5(root, work.name_recorded(work.store.meta_dataset_path)) if is_dvc_repository(root) else None
    return dg.AssetCheckResult(
        passed=recorded == written,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if is_dvc_repository(root) else f"{root} is no DVC repository.",
        metadata={"written": written, "recorded": recorded or "none"},
    )


@dg.asset_check(asset=assets.surrogate)
def surrogate_has_learned(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """The loss is finite and the order of configurations on meta-validation families is better than chance."""
    metrics = read_candidate(pipeline.open(context))["metrics"]
    if "validation_loss" not in metrics:
        return dg.AssetCheckResult(passed=True, description="It has no networks; the gate judges what it recommends.")
    loss, correlation = metrics["validation_loss"], metrics["validation_rank_correlation"]
    passed = bool(np.isfinite(loss)) and correlation > MIN_RANK_CORRELATION
    return dg.AssetCheckResult(
        passed=passed, metadata={"validation_loss": loss, "validation_rank_correlation": correlation}
    )


@dg.asset_check(asset=assets.recommendation_evaluation, blocking=True)
def gate(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """Not worse than the champion and the named baselines on meta-validation families; blocks the promotion."""
    work = pipeline.open(context)
    results = evaluation_files.read_results(work.store)
    if not results["promoted"] and results["version"] == read_candidate(work)["version"]:
        promote.promote(work)  # this check blocks the asset `champion`: the refusal is recorded here
    return dg.AssetCheckResult(
        passed=bool(results["promoted"]), description=results["reason"], metadata={"version": results["version"]}
    )


@dg.asset_check(asset=assets.champion)
def champion_answers(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """The champion, downloaded from the registry, answers a golden request with five distinct valid configurations."""
    answer = promote.answer_golden_request(pipeline.open(context))
    found = [str(r["configuration"]) for r in answer["recommendations"]]
    passed = len(set(found)) == promote.GOLDEN_COUNT
    return dg.AssetCheckResult(passed=passed, metadata={"first": found[0]})


@dg.asset_check(asset=assets.recommendation_monitoring)
def intervals_hold(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> dg.AssetCheckResult:
    """Of 20 outcomes or more of a learner, 72 % to 88 % lie in their 80 % interval; beyond that is a warning."""
    report = read_json(feedback.monitoring_path(pipeline.open(context)), remedy="Materialize the asset first.")
    shown = {name: report[name] for name in ("outcomes", "coverage", "mean_error") if report[name] is not None}
    drifted = {name: found["reason"] for name, found in report.get("learners", {}).items() if found["drifted"]}
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(f"{name}: {reason}" for name, reason in drifted.items()) or report["reason"],
        metadata=shown,
    )


CHECKS = [
    catalogue_is_complete,
    searches_are_complete,
    meta_features_are_finite,
    families_are_on_one_side,
    version_is_recorded,
    surrogate_has_learned,
    gate,
    champion_answers,
    intervals_hold,
]
