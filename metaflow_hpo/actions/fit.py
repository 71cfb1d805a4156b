"""Step 2 of the pipeline: fit the surrogate and register it as candidate.

The one thing to know: the fit and the evaluation share one MLflow run, the one the registered version points to.
"""

import time
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.actions.candidate import find_candidate
from metaflow_hpo.actions.lineage import log_inputs
from metaflow_hpo.actions.own_history import describes, is_collected
from metaflow_hpo.actions.plain_fit import MIN_CORE, choose_settings, fit_plain, read_history
from metaflow_hpo.actions.warm_start import SCRATCH, Start, choose_start
from metaflow_hpo.adapters.files import locked, replacing, write_json
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline, logger
from metaflow_hpo.adapters.tracking import keeping_global_address
from metaflow_hpo.adapters.versioning import data_md5
from metaflow_hpo.collect.strategies.registry import CORE
from metaflow_hpo.metric import Metric
from metaflow_hpo.recommender.interval import UNIT
from metaflow_hpo.settings import Settings
from metaflow_hpo.task import TABLE

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from metaflow_hpo.adapters.run import Run
    from metaflow_hpo.history import History
    from metaflow_hpo.recommender.recommender import Recommender
    from metaflow_hpo.recommender.stopping import StoppingRule
    from metaflow_hpo.surrogate.fit import FitSettings

NO_META_FEATURES = "mf_none"
"""Input of a model that was learned from tasks without meta-features: MLflow wants one; it is not read."""
_START_TAG = "fit.start"
_FIT_PARAMETERS = ("learner", "seed", "folds")
"""Settings that a fit depends on, beside the meta-data set."""


def read_core(pipeline: Pipeline) -> "History":
    """Return the tasks on the configurations that are recommended from, by the learner of the settings.

    They are the shared core, tried on every task, or where there is none those that did best somewhere. Tasks on which
    all configurations perform alike are left out, with a warning: their order is noise.
    """
    return _find_core(pipeline, pipeline.store.read_meta_dataset())


def _find_core(pipeline: Pipeline, frame: pd.DataFrame) -> "History":
    from metaflow_hpo.recommender.pool import choose_pool

    begun = frame.loc[is_collected(frame) & frame["strategy"].isin(CORE)]
    core = None if begun.empty else _build(pipeline, begun).shared()
    if core is None or len(core.configurations) < MIN_CORE:
        tried = _build(pipeline, frame)
        core = tried.on(choose_pool(tried))
        logger.info("Few configurations were tried on every task: recommended from %d.", len(core.configurations))
    for note in core.notes:
        logger.warning("%s", note)
    kept = core if core.metric is not None and core.metric.bounds != UNIT else core.subset(core.informative)
    left_out = sorted(set(core.task_ids) - set(kept.task_ids))
    if left_out:
        logger.warning("Left out, as all configurations perform alike on them: %s", ", ".join(left_out))
    return kept


def _build(pipeline: Pipeline, rows: pd.DataFrame) -> "History":
    from metaflow_hpo.history import History

    learner, metric = pipeline.learner, _find_metric(pipeline, rows)
    history = History.from_frame(rows, space=learner.space, learner=learner.name, metric=metric)
    position = {name: p for p, name in enumerate(history.configuration_ids)}
    # In the order in which they were first tried: the default leads, and a search that goes on moves none.
    return history.on([position[name] for name in dict.fromkeys(rows["configuration_id"]) if name in position])


def _find_metric(pipeline: Pipeline, rows: pd.DataFrame) -> Metric | None:
    """Return the metric of all tasks, None where they have several or where it is not known."""
    if not pipeline.store.catalogue_path.is_file():
        return None
    catalogue = pipeline.store.read_catalogue()
    metrics = set(catalogue.loc[catalogue["task_id"].isin(rows["task_id"].unique()), "metric"])
    return Metric.read(str(metrics.pop())) if len(metrics) == 1 else None


def read_core_and_trials(pipeline: Pipeline) -> "tuple[History, History]":
    """Return the shared core, which recommendations are chosen from, and every trial, which the networks learn from."""
    return _split(pipeline, pipeline.store.read_meta_dataset())


def _split(pipeline: Pipeline, frame: pd.DataFrame) -> "tuple[History, History]":
    meta, everything = _find_core(pipeline, frame), _build(pipeline, frame)
    kept = {*meta.task_ids, *frame.loc[~is_collected(frame), "task_id"]} - set(_uninformative(everything))
    kept |= set(meta.task_ids)
    return meta, everything.subset([t for t, task_id in enumerate(everything.task_ids) if task_id in kept])


def _uninformative(history: "History") -> list[str]:
    told = set(history.informative.tolist())
    return [task_id for t, task_id in enumerate(history.task_ids) if t not in told]


def read_families(pipeline: Pipeline) -> list[str]:
    """Return the family of each task that a fit learns from."""
    frame = pipeline.store.read_meta_dataset()
    is_split = has_networks(pipeline, frame)
    return list(_find_core(pipeline, frame).families if is_split else read_history(pipeline, frame).families)


def has_networks(pipeline: Pipeline, frame: pd.DataFrame) -> bool:
    """Tell whether networks are trained: on tables, all of them described, with a shared core or many families."""
    rows = _described_rows(pipeline, frame)
    if rows is None or set(pipeline.learner.modalities) != {TABLE}:
        return False
    return bool(rows["strategy"].isin(CORE).any()) or _has_families(rows)


def may_have_networks(pipeline: Pipeline, frame: pd.DataFrame) -> bool:
    """Tell whether networks are tried: on tasks of another modality, all of them described, of many families."""
    rows = _described_rows(pipeline, frame)
    return rows is not None and TABLE not in pipeline.learner.modalities and _has_families(rows)


def _described_rows(pipeline: Pipeline, frame: pd.DataFrame) -> pd.DataFrame | None:
    rows = frame.loc[frame["learner"] == pipeline.learner_name].dropna(axis="columns", how="all")
    return rows if describes(rows) else None


def _has_families(rows: pd.DataFrame) -> bool:
    from metaflow_hpo.evaluate.fitting import MIN_FAMILIES

    return bool(rows["family"].nunique() >= MIN_FAMILIES)


def make_fit_settings(settings: Settings) -> "FitSettings":
    """Return how the surrogate is trained."""
    from metaflow_hpo.surrogate.fit import FitSettings

    return FitSettings(folds=settings.folds, seed=settings.seed, accelerator=settings.accelerator)


def fit(pipeline: Pipeline, *, incremental: bool = False) -> Metadata:
    """Train the surrogate on the meta-data set and register it as candidate; unchanged inputs are not trained again.

    Args:
        pipeline: The surroundings.
        incremental: Train the champion's networks on where only tasks were added; from scratch unless given.
    """
    with one_learning(pipeline):
        return _fit(pipeline, incremental=incremental)


def one_learning(pipeline: Pipeline) -> AbstractContextManager[None]:
    """Let one process at a time fit, evaluate or promote: the candidate's folder and its record belong together."""
    return locked(pipeline.store.data / "mlflow")


def _fit(pipeline: Pipeline, *, incremental: bool) -> Metadata:
    store, settings = pipeline.store, pipeline.settings
    md5 = data_md5(store.meta_dataset_path)
    inputs = f"{md5}/{settings.digest(*_FIT_PARAMETERS)}"
    if settings.refit_from is not None:
        inputs += f"/{settings.refit_from}"
    known = find_candidate(pipeline)
    if known is not None and _is_trained(pipeline, known, inputs, incremental=incremental):
        return {**known, "reused": True}
    started = time.monotonic()
    keys = pipeline.key_tags("surrogate", inputs)
    with pipeline.tracking.parent_run("surrogate", f"surrogate {time.strftime('%Y-%m-%d %H:%M')}", keys) as run:
        tags = pipeline.tags({"meta_dataset": md5})
        run.set_tags(tags | keys)
        run.log_params({name: getattr(settings, name) for name in _FIT_PARAMETERS})
        log_inputs(pipeline, run)
        recommender, metrics, start = _learn(pipeline, run, incremental=incremental)
        lineage = {"meta_dataset_md5": md5, "git_revision": tags["git.revision"], "mlflow_run_id": run.run_id}
        recommender = replace(recommender, lineage=lineage)
        with replacing(store.surrogate_folder) as fresh:
            recommender.save(fresh)
        run.log_metrics(metrics)
        example = _make_example(recommender)
        named = {"data.meta_dataset.md5": md5, _START_TAG: start.name}
        version = pipeline.registry.register_surrogate(
            store.surrogate_folder, run_id=run.run_id, input_example=example, tags=named
        )
        run.rename(f"version {version}")
        candidate = {
            "inputs": inputs,
            "name": pipeline.registry.name,
            "version": version,
            "run_id": run.run_id,
            "meta_dataset_md5": md5,
            "scratch_md5": md5 if start.version is None else (known or {}).get("scratch_md5"),
            "start": start.name,
            "start_reason": start.reason,
            "metrics": metrics,
            "seconds": time.monotonic() - started,
        }
    write_json(store.candidate_path, candidate)
    return {**candidate, "reused": False}


def _learn(pipeline: Pipeline, run: "Run", *, incremental: bool) -> "tuple[Recommender, dict[str, float], Start]":
    """Fit with networks or without; where both may be, with those that are of use on families they have not seen."""
    frame = pipeline.store.read_meta_dataset()
    if has_networks(pipeline, frame):
        return _train(pipeline, run, frame, incremental=incremental)
    if may_have_networks(pipeline, frame):
        tried = _train(pipeline, run, frame, incremental=False, default_trust=0.0)
        if tried[0].trust > 0:
            return tried
        logger.info("Networks are of no use on families that they have not seen: past tasks alone recommend.")
    recommender, metrics = fit_plain(pipeline, frame)
    return recommender, metrics, Start(None, "Nothing but past tasks is fitted.")


def _make_example(recommender: "Recommender") -> pd.DataFrame:
    """Return meta-features as one asks with: those of a past task, middling where it lacks some."""
    names = list(recommender.meta_feature_names)
    if not names:
        return pd.DataFrame({NO_META_FEATURES: [0.0]})
    known = pd.DataFrame(recommender.past.meta_features, columns=names)
    return known.head(1).fillna(known.median())


def _is_trained(pipeline: Pipeline, known: dict[str, Any], inputs: str, *, incremental: bool) -> bool:
    """Tell whether the candidate is what a fit would give; one from scratch does where an incremental one is asked."""
    from_scratch = known.get("start", SCRATCH) == SCRATCH
    asked = incremental or from_scratch or pipeline.settings.refit_from is not None
    return bool(known["inputs"] == inputs and asked and pipeline.registry.has_version(known["version"]))


def _train(
    pipeline: Pipeline, run: "Run", frame: pd.DataFrame, *, incremental: bool, default_trust: float | None = None
) -> "tuple[Recommender, dict[str, float], Start]":
    from metaflow_hpo.evaluate.evaluation import DEFAULT_TRUST
    from metaflow_hpo.evaluate.fitting import fit_networks
    from metaflow_hpo.surrogate.fit import FoldReport

    settings = pipeline.settings
    meta, trials = _split(pipeline, frame)
    start = choose_start(pipeline, trials, incremental=incremental)
    logger.info("%s", start.reason)
    run.set_tags({_START_TAG: start.name, f"{_START_TAG}.reason": start.reason})

    def show(report: FoldReport) -> None:
        pipeline.progress("folds of the surrogate", report.fold + 1, settings.folds)

    def make_logger(fold: int) -> "Logger":
        return _lightning_logger(pipeline, run.run_id, fold)

    with keeping_global_address():
        recommender, reports = fit_networks(
            meta,
            trials,
            choose_settings(meta),
            make_fit_settings(settings),
            default_trust=DEFAULT_TRUST if default_trust is None else default_trust,
            start=start.warm,
            make_logger=make_logger,
            on_fold=show,
        )
    names = sorted({name for report in reports for name in report.metrics})
    metrics = {name: sum(r.metrics[name] for r in reports) / len(reports) for name in names}
    metrics |= {"trust": recommender.trust, "tasks": float(len(meta.task_ids))}
    if recommender.interval is not None:
        metrics["interval_scale"] = recommender.interval.scale
    metrics["networks_trained"] = float(sum(report.epochs > 0 for report in reports))
    return replace(recommender, stopping=_fit_stopping(pipeline, frame)), metrics, start


def _fit_stopping(pipeline: Pipeline, frame: pd.DataFrame) -> "StoppingRule | None":
    """Learn from the learning curves of the meta-data set when to stop a training; None where it holds too few."""
    from metaflow_hpo.history import read_curves
    from metaflow_hpo.recommender.stopping import StoppingRule

    return StoppingRule.fit(read_curves(frame, pipeline.learner.name, pipeline.epochs))


def _lightning_logger(pipeline: Pipeline, run_id: str, fold: int) -> "Logger":
    """Send a fold's learning curves into the open run, `fit/fold-0-validation_loss` and so on."""
    from pytorch_lightning.loggers import MLFlowLogger

    uri = pipeline.tracking.tracking_uri
    return MLFlowLogger(run_id=run_id, tracking_uri=uri, prefix=f"fit/fold-{fold}", log_model=False)


def find_learned_md5(pipeline: Pipeline) -> str | None:
    """Return the md5 of the meta-data set where one was trained on it from scratch and no table is newer."""
    candidate, joined = find_candidate(pipeline), pipeline.store.meta_dataset_path
    if candidate is None or not joined.is_file():
        return None
    tables = [t for name in ("search_results", "meta_features") for t in pipeline.store.data.glob(f"{name}/*.parquet")]
    md5 = data_md5(joined)
    is_newer = any(table.stat().st_mtime_ns > joined.stat().st_mtime_ns for table in tables)
    return md5 if md5 == candidate.get("scratch_md5") and not is_newer else None
