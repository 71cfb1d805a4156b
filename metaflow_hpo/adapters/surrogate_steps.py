"""Steps 2 to 4 of the pipeline: fit the surrogate, evaluate its recommendations, promote it.

The one thing to know: `fit` and `evaluate` share one MLflow run, the one the registered version points to.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.evaluation_files import Findings, read_results, write_findings, write_learning_curve
from metaflow_hpo.adapters.files import read_json, replacing, write_json
from metaflow_hpo.adapters.incumbent import find_incumbent
from metaflow_hpo.adapters.lineage import log_inputs
from metaflow_hpo.adapters.model_card import describe_version
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline, logger
from metaflow_hpo.adapters.versioning import data_md5
from metaflow_hpo.adapters.warm_start import SCRATCH, choose_start
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.settings import Settings
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from metaflow_hpo.adapters.run import Run
    from metaflow_hpo.adapters.warm_start import Start
    from metaflow_hpo.evaluate.protocol import Evaluation
    from metaflow_hpo.recommend.recommendation import ServedRecommender
    from metaflow_hpo.surrogate.fit import FitSettings
    from metaflow_hpo.surrogate.meta_dataset import MetaDataset

RECOMMENDED = 5
_CANDIDATE_FILE = "candidate.json"
_START_TAG = "fit.start"


def read_core(pipeline: Pipeline) -> "MetaDataset":
    """Return the shared core: configurations tried on every task, by the learner of the settings.

    Tasks on which all configurations perform alike are left out, with a warning: their order is noise.
    """
    return _find_core(pipeline, pipeline.store.read_meta_dataset())


def _find_core(pipeline: Pipeline, frame: pd.DataFrame) -> "MetaDataset":
    core = _build(pipeline, frame.loc[frame["strategy"] == "sobol"]).shared()
    if not core.configurations:
        raise MetaflowHPOError(
            "No configuration was tried on every task. Search all tasks with the same settings first."
        )
    kept = core.subset(core.informative)
    left_out = sorted(set(core.task_ids) - set(kept.task_ids))
    if left_out:
        logger.warning("Left out, as all configurations perform alike on them: %s", ", ".join(left_out))
    return kept


def _build(pipeline: Pipeline, rows: pd.DataFrame) -> "MetaDataset":
    from metaflow_hpo.surrogate.meta_dataset import build_meta_dataset

    return build_meta_dataset(rows, pipeline.learner.space, pipeline.learner.name)


def _read_core_and_trials(pipeline: Pipeline) -> "tuple[MetaDataset, MetaDataset]":
    """Return the shared core, which recommendations are chosen from, and every trial, which the networks learn from."""
    frame = pipeline.store.read_meta_dataset()
    meta, everything = _find_core(pipeline, frame), _build(pipeline, frame)
    return meta, everything.subset([everything.task_ids.index(task_id) for task_id in meta.task_ids])


def _fit_settings(settings: Settings) -> "FitSettings":
    from metaflow_hpo.surrogate.fit import FitSettings

    return FitSettings(folds=settings.folds, seed=settings.seed, accelerator=settings.accelerator)


def fit(pipeline: Pipeline, *, incremental: bool = False) -> Metadata:
    """Train the surrogate on the meta-data set and register it as candidate; unchanged inputs are not trained again.

    Args:
        pipeline: The surroundings.
        incremental: Train the champion's networks on where only tasks were added; from scratch unless given.
    """
    store, settings = pipeline.store, pipeline.settings
    md5 = data_md5(store.meta_dataset_path)
    inputs = f"{md5}/{settings.digest('learner', 'seed', 'folds')}"
    if settings.refit_from is not None:
        inputs += f"/{settings.refit_from}"
    known = _find_candidate(pipeline)
    if known is not None and _is_trained(pipeline, known, inputs, incremental=incremental):
        return {**known, "reused": True}
    started = time.monotonic()
    keys = pipeline.key_tags("surrogate", inputs)
    with pipeline.tracking.parent_run("surrogate", f"surrogate {time.strftime('%Y-%m-%d %H:%M')}", keys) as run:
        tags = pipeline.tags({"meta_dataset": md5})
        run.set_tags(tags | keys)
        log_inputs(pipeline, run)
        recommender, metrics, start = _train(pipeline, run, tags, md5, incremental=incremental)
        with replacing(store.surrogate_folder) as fresh:
            recommender.save(fresh)
        run.log_metrics(metrics)
        example = pd.DataFrame([recommender.past.meta_features[0]], columns=list(recommender.meta_feature_names))
        named = {"data.meta_dataset.md5": md5, _START_TAG: start.name}
        version = pipeline.registry.register_surrogate(
            store.surrogate_folder, run_id=run.run_id, input_example=example, tags=named
        )
        candidate = {
            "inputs": inputs,
            "version": version,
            "run_id": run.run_id,
            "meta_dataset_md5": md5,
            "scratch_md5": md5 if start.version is None else (known or {}).get("scratch_md5"),
            "start": start.name,
            "start_reason": start.reason,
            "metrics": metrics,
            "seconds": time.monotonic() - started,
        }
    write_json(store.data / "mlflow" / _CANDIDATE_FILE, candidate)
    return {**candidate, "reused": False}


def _is_trained(pipeline: Pipeline, known: dict[str, Any], inputs: str, *, incremental: bool) -> bool:
    """Tell whether the candidate is what a fit would give; one from scratch does where an incremental one is asked."""
    from_scratch = known.get("start", SCRATCH) == SCRATCH
    asked = incremental or from_scratch or pipeline.settings.refit_from is not None
    return bool(known["inputs"] == inputs and asked and pipeline.registry.has_version(known["version"]))


def _train(
    pipeline: Pipeline, run: "Run", tags: dict[str, str], md5: str, *, incremental: bool
) -> "tuple[ServedRecommender, dict[str, float], Start]":
    from metaflow_hpo.evaluate.calibration import fit_interval, measure_adaptive, nonconformity, with_observed
    from metaflow_hpo.evaluate.protocol import evaluate_leave_family_out
    from metaflow_hpo.recommend.recommendation import ServedRecommender
    from metaflow_hpo.surrogate.fit import FoldReport, fit_surrogate

    settings = pipeline.settings
    meta, trials = _read_core_and_trials(pipeline)
    start = choose_start(pipeline, trials, incremental=incremental)
    logger.info("%s", start.reason)
    run.set_tags({_START_TAG: start.name, f"{_START_TAG}.reason": start.reason})

    def show(report: FoldReport) -> None:
        pipeline.progress("folds of the surrogate", report.fold + 1, settings.folds)

    def make_logger(fold: int) -> "Logger":
        return _lightning_logger(pipeline, run.run_id, fold)

    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        surrogate, reports = fit_surrogate(
            trials,
            settings.learner,
            _fit_settings(settings),
            Path(folder),
            start=start.warm,
            make_logger=make_logger,
            on_fold=show,
        )
    evaluation = evaluate_leave_family_out(meta, surrogate)
    interval = fit_interval(nonconformity(meta, surrogate, evaluation.orders))
    interval = with_observed(interval, measure_adaptive(meta, surrogate, evaluation.trust))
    lineage = {"meta_dataset_md5": md5, "git_revision": tags["git.revision"], "mlflow_run_id": run.run_id}
    names = sorted({name for report in reports for name in report.metrics})
    metrics = {name: sum(r.metrics[name] for r in reports) / len(reports) for name in names}
    metrics |= {"trust": evaluation.trust, "interval_scale": interval.scale, "tasks": float(len(meta.task_ids))}
    metrics["networks_trained"] = float(sum(report.epochs > 0 for report in reports))
    return ServedRecommender(surrogate, meta, evaluation.trust, interval, lineage), metrics, start


def _lightning_logger(pipeline: Pipeline, run_id: str, fold: int) -> "Logger":
    """Send a fold's learning curves into the open run, `fold-0/validation_loss` and so on."""
    from pytorch_lightning.loggers import MLFlowLogger

    uri = pipeline.tracking.tracking_uri
    return MLFlowLogger(run_id=run_id, tracking_uri=uri, prefix=f"fold-{fold}", log_model=False)


def _find_candidate(pipeline: Pipeline) -> dict[str, Any] | None:
    path = pipeline.store.data / "mlflow" / _CANDIDATE_FILE
    if not path.is_file() or not pipeline.store.surrogate_folder.is_dir():
        return None
    return dict(read_json(path))


def find_learned_md5(pipeline: Pipeline) -> str | None:
    """Return the md5 of the meta-data set where one was trained on it from scratch and no table is newer."""
    candidate, joined = _find_candidate(pipeline), pipeline.store.meta_dataset_path
    if candidate is None or not joined.is_file():
        return None
    tables = [t for name in ("search_results", "meta_features") for t in pipeline.store.data.glob(f"{name}/*.parquet")]
    md5 = data_md5(joined)
    is_newer = any(table.stat().st_mtime_ns > joined.stat().st_mtime_ns for table in tables)
    return md5 if md5 == candidate.get("scratch_md5") and not is_newer else None


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


def evaluate(pipeline: Pipeline, *, learning_curve: bool = False) -> Metadata:
    """Evaluate the candidate leave-family-out, train what it recommends on held-out tasks, and decide the gate.

    Args:
        pipeline: The surroundings.
        learning_curve: Fit surrogates on fewer past tasks as well, which takes about twice as long as a fit.
    """
    from metaflow_hpo.recommend.recommendation import ServedRecommender

    candidate = read_candidate(pipeline)
    recommender = ServedRecommender.load(pipeline.store.surrogate_folder)
    findings = _find(pipeline, recommender, candidate["version"])
    if learning_curve:
        write_learning_curve(pipeline.store, candidate["meta_dataset_md5"], _measure_learning_curve(pipeline))
    results = write_findings(pipeline.store, findings, candidate)
    run = pipeline.tracking.resume(candidate["run_id"])
    run.log_metrics(results["metrics"])
    run.set_tags({f"gate.{name}": results[name] for name in ("promoted", "reason", "incumbent", "incumbent_note")})
    if results["promoted"]:
        logger.info("Version %d passes the gate. %s", results["version"], results["reason"])
    else:
        logger.warning("The gate refuses version %d. %s", results["version"], results["reason"])
    describe_version(pipeline, recommender, findings, results)
    run.log_folder(pipeline.store.evaluation_folder, "evaluation")
    return {**results, "summary": findings.summary, "gains": findings.gains, "realised": findings.realised}


def _find(pipeline: Pipeline, recommender: "ServedRecommender", version: int) -> Findings:
    from metaflow_hpo.evaluate.ablation import ablate
    from metaflow_hpo.evaluate.calibration import measure_reliability, nonconformity
    from metaflow_hpo.evaluate.effort import measure_effort
    from metaflow_hpo.evaluate.gate import decide
    from metaflow_hpo.evaluate.noise_floor import measure_noise_floor
    from metaflow_hpo.evaluate.protocol import evaluate_leave_family_out, summarise
    from metaflow_hpo.evaluate.realised import choose_random_trials, compare_realised, summarise_realised

    meta, surrogate = recommender.past, recommender.surrogate
    evaluation = evaluate_leave_family_out(meta, surrogate)
    fold_of_task = {t: surrogate.fold_of_family[f] for t, f in zip(meta.task_ids, meta.families, strict=True)}
    scores = nonconformity(meta, surrogate, evaluation.orders)
    trained = _train_recommended(pipeline, meta, evaluation)
    trials = pipeline.store.read_meta_dataset()
    random = choose_random_trials(trials, surrogate.learner, _identify(surrogate.space.default))
    realised = compare_realised(trained, random)
    incumbent = find_incumbent(pipeline, meta, version)
    if incumbent.note:
        logger.info("Not compared with an incumbent. %s", incumbent.note)
    return Findings(
        evaluation=evaluation,
        summary=summarise(evaluation.per_task),
        realised=realised,
        gains=summarise_realised(realised),
        coverage=measure_reliability(scores, fold_of_task),
        ablation=ablate(meta, surrogate, evaluation.trusts),
        effort=measure_effort(meta, surrogate, evaluation.trusts),
        noise_floor=measure_noise_floor(trials, meta, surrogate.learner, evaluation.orders),
        decision=decide(evaluation.per_task, incumbent.regret, incumbent.name),
        incumbent=incumbent,
    )


def _measure_learning_curve(pipeline: Pipeline) -> pd.DataFrame:
    from metaflow_hpo.evaluate.learning_curve import measure_learning_curve

    meta, trials = _read_core_and_trials(pipeline)
    settings = pipeline.settings
    return measure_learning_curve(
        meta,
        trials,
        settings.learner,
        _fit_settings(settings),
        on_fit=lambda done, total: pipeline.progress("surrogates on fewer tasks", done, total),
    )


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


def promote(pipeline: Pipeline) -> Metadata:
    """Move the alias `champion` to the evaluated candidate if the gate passed it; otherwise keep the champion."""
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
    from metaflow_hpo.recommend.recommendation import ServedRecommender

    served = ServedRecommender.load(pipeline.registry.download("champion"))
    values: Sequence[float] = served.past.meta_features[0].tolist()
    return served.recommend(dict(zip(served.meta_feature_names, values, strict=True)), k=RECOMMENDED)
