"""What must hold when the soak is over. Each function returns what is wrong; nothing is good."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import deliveries
import pandas as pd
import psutil
from deliveries import Bad, reason_is_given

from metaflow_hpo.actions.audit import read_decisions
from metaflow_hpo.actions.incumbent import judge
from metaflow_hpo.actions.plan_searches import plan_searches
from metaflow_hpo.adapters.files import read_frame
from metaflow_hpo.adapters.ledger import read_ledger, select_accepted
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.versioning import file_md5, recorded_md5
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.gate import KS, MAX_HARM
from metaflow_hpo.evaluate.statistics import probability_of_harm
from metaflow_hpo.modalities.hints import is_landed, task_id_of
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.tables import validate_catalogue, validate_meta_features, validate_trials
from metaflow_hpo.task import is_name_apart

KEY = ["learner", "configuration_id", "strategy", "seed", "fidelity_epochs"]


def landed_tasks(pipeline: Pipeline, goods: Sequence[int]) -> dict[str, Pipeline | None]:
    """Return the tasks that good files became, each with the surroundings it is searched in; None where it is not."""
    accepted = select_accepted(read_ledger(pipeline.store))
    names = [deliveries.good_name(number) for number in goods]
    ids = [accepted[name].task_id for name in names if name in accepted]
    modalities = pipeline.store.read_catalogue().set_index("task_id")["modality"] if ids else {}
    return {task_id: _surroundings(pipeline, str(modalities[task_id])) for task_id in ids if task_id in modalities}


def _surroundings(pipeline: Pipeline, modality: str) -> Pipeline | None:
    own = pipeline.on(modality)
    return own if own.trains_on(modality) else None


def is_joined(pipeline: Pipeline, task_id: str) -> bool:
    """Tell whether a task is part of the meta-data set of its learner."""
    path = pipeline.store.meta_dataset_path
    return path.is_file() and task_id in set(pipeline.store.read_meta_dataset()["task_id"])


def check_names(pipeline: Pipeline, goods: Sequence[int]) -> Iterator[str]:
    """Every good file is a task of its own, called by its name, and by its content as well where that is taken."""
    accepted = select_accepted(read_ledger(pipeline.store))
    found = {name: accepted[name].task_id for name in map(deliveries.good_name, goods) if name in accepted}
    if len(found) < len(goods) or len(set(found.values())) < len(goods):
        yield f"{len(goods)} good files became the tasks {found}"
    for name, task_id in found.items():
        expected = task_id_of(Path(name))
        if task_id != expected and not is_name_apart(task_id, expected):
            yield f"{name!r} became {task_id}, not {expected}"
    ids = [*map(task_id_of, map(Path, found))]
    for expected in {one for one in ids if one not in found.values()}:
        yield f"{expected} is the task of no file"
    catalogue = pipeline.store.read_catalogue()
    landed = catalogue.loc[catalogue["source"].map(is_landed), "task_id"]
    if sorted(landed) != sorted(found.values()):
        yield f"the catalogue has {sorted(landed)} of the inbox, not {sorted(found.values())}"


def check_searches(pipeline: Pipeline, built_in: Sequence[str], goods: Sequence[int]) -> Iterator[str]:
    """Every good task was searched, whole and once, and is part of the meta-data set with each trial once.

    One that no learner can open is described and not searched.
    """
    landed = landed_tasks(pipeline, goods)
    for task_id, own in {**dict.fromkeys(built_in, pipeline), **landed}.items():
        if own is not None:
            yield from _check_search(own, task_id)
        elif pipeline.store.search_results_path(task_id).is_file():
            yield f"{task_id} was searched, although no learner can open it"


def _check_search(pipeline: Pipeline, task_id: str) -> Iterator[str]:
    store = pipeline.store
    path = store.search_results_path(task_id)
    if not path.is_file() or not is_joined(pipeline, task_id):
        yield f"{task_id} was not searched, or not joined"
        return
    frame, task = read_frame(path), store.read_task(task_id).task
    budget: Counter[str] = Counter()
    for strategy, count, _ in plan_searches(pipeline, task.sha256):
        budget[strategy] += count
    spent = frame["strategy"].value_counts().to_dict()
    if frame.duplicated(KEY).any():
        yield f"{task_id} has trials twice"
    if {name: spent.get(name, 0) for name in budget} != budget or spent.get("recommended", 0) > 5:
        yield f"{task_id} spent {spent}, not {dict(budget)} and at most five recommended"
    if not store.is_searched(task):
        yield f"{task_id} has trials that are not in its table"
    joined = (store.read_meta_dataset()["task_id"] == task_id).sum()
    if joined != len(frame):
        yield f"{task_id} has {len(frame)} trials, of which {joined} were joined"


def check_quarantine(pipeline: Pipeline, bad: Sequence[Bad]) -> Iterator[str]:
    """Every bad file lies in quarantine with its reason, none in the inbox or the catalogue, nothing twice."""
    store = pipeline.store
    for one in bad:
        if not reason_is_given(store.quarantine, one):
            yield f"{one.name!r} is not in quarantine with a reason that says {one.reason!r}"
        if os.path.lexists(store.inbox / one.name):
            yield f"{one.name!r} is still in the inbox"
    twice = [path.name for path in store.quarantine.iterdir() if path.stem.endswith("-2")]
    if twice:
        yield f"in quarantine twice: {twice}"
    if [t for t in store.task_ids() if t.startswith("bad_") or "escaped" in t]:
        yield "a bad file is in the catalogue"
    if list(pipeline.settings.root.rglob("escaped*")) or list(pipeline.settings.root.parent.glob("escaped*")):
        yield "a sidecar wrote outside its folder"


def check_tables(data: Path) -> Iterator[str]:
    """Every table is whole and valid."""
    validators = {
        "search_results": lambda frame: validate_trials(frame.drop(columns="task_sha256")),
        "meta_features": validate_meta_features,
    }
    for path in sorted(data.rglob("*.parquet")):
        if "quarantine" in path.parts:
            continue
        try:
            frame = read_frame(path)
            if path.parent.parent == data and path.parent.name in validators:
                validators[path.parent.name](frame)
            if path == data / "catalogue.parquet":
                validate_catalogue(frame)
        except InvalidTableError as error:
            yield f"torn: {error}"


def check_champion(pipeline: Pipeline, first: int) -> Iterator[str]:
    """The champion is not worse than the one at the start on what is known now, by the gate's own measure."""
    champion = pipeline.registry.require_champion().version
    promoted = [decision for decision in read_decisions(pipeline) if decision.outcome == "promoted"]
    if not all(decision.reason.startswith("Not worse than") for decision in promoted):
        yield f"promoted without the gate: {[(d.version, d.reason) for d in promoted]}"
    finished = [decision.version for decision in promoted if decision.finished]
    if champion not in finished:
        yield f"version {champion} is the champion; finished promotions are of {finished}"
    if champion == first:
        return
    mine, old = (_gate_value(pipeline, version) for version in (champion, first))
    tasks = mine.index.intersection(old.index)
    harm = probability_of_harm((mine.loc[tasks] - old.loc[tasks]).to_numpy(dtype=float))
    print(
        f"gate value of version {champion}: {mine.mean():.4f}; of version {first}, the first: {old.mean():.4f} "
        f"(probability of harm {harm:.2f} over {len(tasks)} tasks)"
    )
    if harm >= MAX_HARM:
        yield f"version {champion} is worse than version {first}, probability of harm {harm:.2f}"


def _gate_value(pipeline: Pipeline, version: int) -> pd.Series:
    """Return the mean regret of a version on each present task."""
    from metaflow_hpo.actions.fit import read_core

    meta = read_core(pipeline)
    served = Recommender.load(pipeline.registry.download(version))
    table = judge(served, meta, meta, dict(zip(meta.task_ids, meta.families, strict=True)))
    return table.loc[table["k"].isin(KS)].groupby("task_id")["regret"].mean()


def check_versions(pipeline: Pipeline) -> Iterator[str]:
    """DVC has recorded the meta-data set that is there."""
    written = file_md5(pipeline.store.meta_dataset_path)
    recorded = recorded_md5(pipeline.settings.root, "data/meta_dataset.parquet")
    if written != recorded:
        yield f"dvc.lock has {recorded} for the meta-data set, which is {written}"


def check_runs(instance: dg.DagsterInstance) -> Iterator[str]:
    """No run counts as running."""
    done = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    unfinished = [run.run_id for run in instance.get_runs() if run.status not in done]
    if unfinished:
        yield f"unfinished runs: {unfinished}"


def check_processes(marker: str) -> Iterator[str]:
    """No process of the soak is left, by the folder in its environment."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and marker in process.environ().get("DAGSTER_HOME", ""):
                yield f"left running: {process.pid} {' '.join(process.cmdline())[:120]}"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
