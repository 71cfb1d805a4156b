"""Steps 2 to 4 of the pipeline: fit the surrogate, evaluate its recommendations, promote it.

The one thing to know: `fit` and `evaluate` share one MLflow run, the one the registered version points to.
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.collect_steps import Metadata
from metaflow_hpo.adapters.files import read_frame, read_json, write_frame, write_json
from metaflow_hpo.adapters.lineage import log_inputs
from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.adapters.versioning import data_md5
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from metaflow_hpo.evaluate.gate import Decision
    from metaflow_hpo.evaluate.protocol import Evaluation
    from metaflow_hpo.recommend.recommendation import ServedRecommender
    from metaflow_hpo.surrogate.meta_dataset import MetaDataset

RECOMMENDED = 5
_CANDIDATE_FILE = "candidate.json"
_RESULTS_FILE = "results.json"


def read_core(pipeline: Pipeline) -> "MetaDataset":
    """Return the shared core: configurations tried on every task, by the learner of the settings.

    Tasks on which all configurations perform alike are left out, with a warning: their order is noise.
    """
    core = _read_meta_dataset(pipeline, strategies=("sobol",)).shared()
    if not core.configurations:
        raise MetaflowHPOError(
            "No configuration was tried on every task. Search all tasks with the same settings first."
        )
    kept = core.subset(core.informative)
    left_out = sorted(set(core.task_ids) - set(kept.task_ids))
    if left_out:
        logger.warning("Left out, as all configurations perform alike on them: %s", ", ".join(left_out))
    return kept


def _read_meta_dataset(pipeline: Pipeline, strategies: Sequence[str] | None = None) -> "MetaDataset":
    from metaflow_hpo.surrogate.meta_dataset import build_meta_dataset

    learner, frame = pipeline.learner, pipeline.store.read_meta_dataset()
    rows = frame if strategies is None else frame.loc[frame["strategy"].isin(strategies)]
    return build_meta_dataset(rows, learner.space, learner.name)


def fit(pipeline: Pipeline) -> Metadata:
    """Train the surrogate on the meta-data set and register it as candidate; unchanged inputs are not trained again."""
    store, settings = pipeline.store, pipeline.settings
    md5 = data_md5(store.meta_dataset_path)
    inputs = f"{md5}/{settings.digest('learner', 'seed', 'folds')}"
    known = _find_candidate(pipeline)
    if known is not None and known["inputs"] == inputs and pipeline.registry.has_version(known["version"]):
        return {**known, "reused": True}
    started = time.monotonic()
    keys = pipeline.key_tags("surrogate", inputs)
    with pipeline.tracking.parent_run("surrogate", f"surrogate {time.strftime('%Y-%m-%d %H:%M')}", keys) as run:
        tags = pipeline.tags({"meta_dataset": md5})
        run.set_tags(tags | keys)
        log_inputs(pipeline, run)
        recommender, metrics = _train(pipeline, run.run_id, tags, md5)
        _save(recommender, store.surrogate_folder)
        run.log_metrics(metrics)
        example = pd.DataFrame([recommender.past.meta_features[0]], columns=list(recommender.meta_feature_names))
        version = pipeline.registry.register_surrogate(
            store.surrogate_folder, run_id=run.run_id, input_example=example, tags={"data.meta_dataset.md5": md5}
        )
        candidate = {
            "inputs": inputs,
            "version": version,
            "run_id": run.run_id,
            "meta_dataset_md5": md5,
            "metrics": metrics,
            "seconds": time.monotonic() - started,
        }
    write_json(store.data / "mlflow" / _CANDIDATE_FILE, candidate)
    return {**candidate, "reused": False}


def _train(
    pipeline: Pipeline, run_id: str, tags: dict[str, str], md5: str
) -> "tuple[ServedRecommender, dict[str, float]]":
    from metaflow_hpo.evaluate.calibration import fit_interval, measure_adaptive, nonconformity, with_observed
    from metaflow_hpo.evaluate.protocol import evaluate_leave_family_out
    from metaflow_hpo.recommend.recommendation import ServedRecommender
    from metaflow_hpo.surrogate.fit import FitSettings, FoldReport, fit_surrogate

    settings, meta = pipeline.settings, read_core(pipeline)
    # The network learns from every trial; recommendations are chosen from the shared core.
    everything = _read_meta_dataset(pipeline)
    trials = everything.subset([everything.task_ids.index(task_id) for task_id in meta.task_ids])
    fit_settings = FitSettings(folds=settings.folds, seed=settings.seed, accelerator=settings.accelerator)

    def show(report: FoldReport) -> None:
        pipeline.progress("folds of the surrogate", report.fold + 1, settings.folds)

    def make_logger(fold: int) -> "Logger":
        return _lightning_logger(pipeline, run_id, fold)

    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        surrogate, reports = fit_surrogate(
            trials, settings.learner, fit_settings, Path(folder), make_logger=make_logger, on_fold=show
        )
    evaluation = evaluate_leave_family_out(meta, surrogate)
    interval = fit_interval(nonconformity(meta, surrogate, evaluation.orders))
    interval = with_observed(interval, measure_adaptive(meta, surrogate, evaluation.trust))
    lineage = {"meta_dataset_md5": md5, "git_revision": tags["git.revision"], "mlflow_run_id": run_id}
    names = sorted({name for report in reports for name in report.metrics})
    metrics = {name: sum(r.metrics[name] for r in reports) / len(reports) for name in names}
    metrics |= {"trust": evaluation.trust, "interval_scale": interval.scale, "tasks": float(len(meta.task_ids))}
    return ServedRecommender(surrogate, meta, evaluation.trust, interval, lineage), metrics


def _lightning_logger(pipeline: Pipeline, run_id: str, fold: int) -> "Logger":
    """Send a fold's learning curves into the open run, `fold-0/validation_loss` and so on."""
    from pytorch_lightning.loggers import MLFlowLogger

    uri = pipeline.tracking.tracking_uri
    return MLFlowLogger(run_id=run_id, tracking_uri=uri, prefix=f"fold-{fold}", log_model=False)


def _save(recommender: "ServedRecommender", folder: Path) -> None:
    """Replace the candidate's folder as a whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".surrogate-", dir=folder.parent) as temporary:
        fresh = Path(temporary) / "surrogate"
        fresh.mkdir()
        recommender.save(fresh)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)


def _find_candidate(pipeline: Pipeline) -> dict[str, Any] | None:
    path = pipeline.store.data / "mlflow" / _CANDIDATE_FILE
    if not path.is_file() or not pipeline.store.surrogate_folder.is_dir():
        return None
    return dict(read_json(path))


def find_learned_md5(pipeline: Pipeline) -> str | None:
    """Return the md5 of the meta-data set where the last surrogate was trained on it and no table is newer."""
    candidate, joined = _find_candidate(pipeline), pipeline.store.meta_dataset_path
    if candidate is None or not joined.is_file():
        return None
    tables = [t for name in ("search_results", "meta_features") for t in pipeline.store.data.glob(f"{name}/*.parquet")]
    md5 = data_md5(joined)
    is_newer = any(table.stat().st_mtime_ns > joined.stat().st_mtime_ns for table in tables)
    return md5 if md5 == candidate["meta_dataset_md5"] and not is_newer else None


def read_candidate(pipeline: Pipeline) -> dict[str, Any]:
    """Return the candidate: `version, run_id, meta_dataset_md5, metrics`.

    Raises:
        MetaflowHPOError: If nothing was fitted yet.
    """
    candidate = _find_candidate(pipeline)
    if candidate is None:
        raise MetaflowHPOError(
            f"Expected a surrogate in {pipeline.store.surrogate_folder}; run `metaflow-hpo fit` first."
        )
    return candidate


@dataclass(frozen=True)
class Findings:
    """What the evaluation found, before it is written."""

    evaluation: "Evaluation"
    summary: pd.DataFrame
    realised: pd.DataFrame
    gains: pd.DataFrame
    covered: dict[str, float]
    decision: "Decision"


def evaluate(pipeline: Pipeline) -> Metadata:
    """Evaluate the candidate leave-family-out, train what it recommends on held-out tasks, and decide the gate."""
    from metaflow_hpo.recommend.recommendation import ServedRecommender

    candidate = read_candidate(pipeline)
    recommender = ServedRecommender.load(pipeline.store.surrogate_folder)
    findings = _find(pipeline, recommender, candidate["version"])
    results = _write_findings(pipeline, findings, candidate)
    run = pipeline.tracking.resume(candidate["run_id"])
    run.log_metrics(results["metrics"])
    run.set_tags({"gate.promoted": findings.decision.promoted, "gate.reason": findings.decision.reason})
    run.log_folder(pipeline.store.evaluation_folder, "evaluation")
    return {**results, "summary": findings.summary, "gains": findings.gains, "realised": findings.realised}


def _find(pipeline: Pipeline, recommender: "ServedRecommender", version: int) -> Findings:
    from metaflow_hpo.evaluate.calibration import measure_coverage, nonconformity
    from metaflow_hpo.evaluate.gate import decide
    from metaflow_hpo.evaluate.protocol import evaluate_leave_family_out, summarise
    from metaflow_hpo.evaluate.realised import choose_random_trials, compare_realised, summarise_realised

    meta, surrogate = recommender.past, recommender.surrogate
    evaluation = evaluate_leave_family_out(meta, surrogate)
    fold_of_task = {t: surrogate.fold_of_family[f] for t, f in zip(meta.task_ids, meta.families, strict=True)}
    covered = measure_coverage(nonconformity(meta, surrogate, evaluation.orders), fold_of_task)
    trained = _train_recommended(pipeline, meta, evaluation)
    random = choose_random_trials(
        pipeline.store.read_meta_dataset(), surrogate.learner, _identify(surrogate.space.default)
    )
    realised = compare_realised(trained, random)
    decision = decide(evaluation.per_task, _champion_regret(pipeline, meta, version))
    gains = summarise_realised(realised)
    return Findings(evaluation, summarise(evaluation.per_task), realised, gains, covered, decision)


def _train_recommended(pipeline: Pipeline, meta: "MetaDataset", evaluation: "Evaluation") -> dict[str, list[Trial]]:
    """Train the first recommendations and the default afresh on every held-out task; known trainings are kept."""
    from metaflow_hpo.adapters.files import Journal
    from metaflow_hpo.evaluate.realised import FRESH_SEED
    from metaflow_hpo.learners.cross_validation import evaluate_configurations
    from metaflow_hpo.tables import record_to_trial, trial_to_record

    learner = pipeline.learner
    journal = Journal(pipeline.store.data / "mlflow" / "realised.journal.jsonl")
    known = {}
    for record in journal.read():
        sha256 = record.pop("task_sha256")
        trial = record_to_trial(record)
        known[(sha256, trial.learner, trial.fidelity_epochs, trial.configuration_id)] = trial
    epochs = pipeline.settings.fidelity_epochs or learner.max_epochs
    trained: dict[str, list[Trial]] = {}
    for done, (task_id, order) in enumerate(evaluation.orders.items(), start=1):
        data = pipeline.store.read_task(task_id)
        chosen = [meta.configurations[c] for c in order[:RECOMMENDED]] + [meta.space.default]
        keys = [(data.task.sha256, learner.name, epochs, _identify(c)) for c in chosen]
        missing = {key: c for key, c in zip(keys, chosen, strict=True) if key not in known}
        fresh = (
            evaluate_configurations(
                data, learner, list(missing.values()), strategy="recommended", seed=FRESH_SEED, fidelity_epochs=epochs
            )
            if missing
            else iter(())
        )
        for position, trial in fresh:
            journal.append({**trial_to_record(trial), "task_sha256": data.task.sha256})
            known[list(missing)[position]] = trial
        trained[task_id] = [known[key] for key in keys]
        pipeline.progress("held-out tasks trained", done, len(evaluation.orders))
    return trained


def _identify(configuration: Any) -> str:
    from metaflow_hpo.space import configuration_id

    return configuration_id(configuration)


def _champion_regret(pipeline: Pipeline, meta: "MetaDataset", candidate: int) -> pd.DataFrame | None:
    """Return the champion's regret on the present tasks, each by networks that were not trained on its family."""
    from metaflow_hpo.evaluate.protocol import regret_of
    from metaflow_hpo.recommend.recommendation import ServedRecommender
    from metaflow_hpo.recommend.surrogate_recommender import SurrogateRecommender

    champion = pipeline.registry.champion()
    if champion is None or champion.version == candidate:
        return None
    served = ServedRecommender.load(pipeline.registry.download(champion.version))
    if served.surrogate.learner != pipeline.settings.learner or served.meta_feature_names != meta.meta_feature_names:
        return None
    lines = []
    for t, family in enumerate(meta.families):
        networks = served.surrogate.networks_blind_to(family, validation=True)
        folds = served.surrogate.fold_of_family
        # As for the candidate: neither the validated fold nor the meta-test fold of the network that is asked.
        hidden = {folds.get(family), (folds[family] - 1) % len(served.surrogate.networks)} if family in folds else set()
        past = [i for i, other in enumerate(meta.families) if other != family and folds.get(other) not in hidden]
        recommender = SurrogateRecommender.fit(served.surrogate, meta.subset(past), served.trust, networks)
        lines.append(regret_of(meta, recommender, [t]))
    return pd.concat(lines, ignore_index=True)


def _write_findings(pipeline: Pipeline, findings: Findings, candidate: dict[str, Any]) -> dict[str, Any]:
    from metaflow_hpo.evaluate.plots import plot_calibration, plot_realised, plot_regret

    folder = pipeline.store.evaluation_folder
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "regret_per_task": findings.evaluation.per_task,
        "regret_summary": findings.summary,
        "realised_per_task": findings.realised,
        "realised_summary": findings.gains,
        "gate": findings.decision.comparisons,
    }
    for name, table in tables.items():
        write_frame(folder / f"{name}.parquet", table)
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    covered = findings.covered
    plot_regret(findings.summary).savefig(folder / "regret.png", dpi=130)
    plot_realised(findings.realised).savefig(folder / "realised.png", dpi=130)
    plot_calibration(covered, 0.8).savefig(folder / "calibration.png", dpi=130)
    metrics = {
        f"regret_{row['recommender']}_k{row['k']}": float(row["mean"]) for row in findings.summary.to_dict("records")
    }
    metrics["coverage_80"] = sum(covered.values()) / len(covered)
    metrics["equivalent_random_trials"] = float(findings.realised["equivalent_random_trials"].median())
    metrics |= {
        f"gain_{row['way']}_over_{row['rival']}": float(row["mean_gain"]) for row in findings.gains.to_dict("records")
    }
    results = {
        "version": candidate["version"],
        "run_id": candidate["run_id"],
        "meta_dataset_md5": candidate["meta_dataset_md5"],
        "promoted": findings.decision.promoted,
        "reason": findings.decision.reason,
        "degenerate_tasks": list(findings.evaluation.degenerate),
        "metrics": metrics,
    }
    write_json(folder / _RESULTS_FILE, results)
    return results


def read_results(pipeline: Pipeline) -> dict[str, Any]:
    """Return what the last evaluation found, with its tables.

    Raises:
        MetaflowHPOError: If nothing was evaluated yet.
    """
    folder = pipeline.store.evaluation_folder
    if not (folder / _RESULTS_FILE).is_file():
        raise MetaflowHPOError(f"No evaluation in {folder}; run `metaflow-hpo evaluate` first.")
    tables = {
        name: read_frame(folder / f"{table}.parquet", remedy="Run `metaflow-hpo evaluate` again.")
        for name, table in (
            ("summary", "regret_summary"),
            ("gains", "realised_summary"),
            ("realised", "realised_per_task"),
        )
    }
    return {**read_json(folder / _RESULTS_FILE), **tables}


def promote(pipeline: Pipeline) -> Metadata:
    """Move the alias `champion` to the evaluated candidate if the gate passed it; otherwise keep the champion."""
    results, candidate = read_results(pipeline), read_candidate(pipeline)
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
    from metaflow_hpo.recommend.recommendation import ServedRecommender

    served = ServedRecommender.load(pipeline.registry.download("champion"))
    values: Sequence[float] = served.past.meta_features[0].tolist()
    return served.recommend(dict(zip(served.meta_feature_names, values, strict=True)), k=RECOMMENDED)
