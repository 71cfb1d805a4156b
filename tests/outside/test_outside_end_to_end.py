"""What a package outside adds goes all the way together: from the inbox to an answer over HTTP."""

import json
import shutil
import threading
from pathlib import Path
from urllib.request import Request, urlopen

import pandas as pd
import pytest

from metaflow_hpo.actions import advise, collect, evaluate, fit, own_trials, promote
from metaflow_hpo.actions.past_knowledge import read_past
from metaflow_hpo.actions.past_trials import import_trials
from metaflow_hpo.actions.proposing import choose_proposer
from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.serving.app import Service
from metaflow_hpo.adapters.serving.champion import ChampionFollower
from metaflow_hpo.adapters.serving.host import make_server
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.modalities import registry
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.settings import Settings
from tests.live import free_ports
from tests.outside.points import write_points

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
MODEL = "metaflow_hpo_surrogate.nearest_centre"
META_FEATURES = ["mf_shape.log_points", "mf_shape.chance", "mf_shape.nearest_centre", "mf_shape.spread"]
TASKS = [f"points_{t}" for t in range(6)]


@pytest.fixture
def pipeline(tmp_path, monkeypatch, mlflow_template):
    """A project with six tasks in its inbox and the package beside this file, as if it was installed."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    registry._find_groups.cache_clear()
    data = tmp_path / "data"
    (data / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    (data / "inbox").mkdir()
    for seed, name in enumerate(TASKS):
        write_points(data / "inbox" / f"{name}.points", seed)
    yield Pipeline(Settings(data=data, tasks=(), core_trials=8, random_trials=0, folds=3, learner="nearest_centre"))
    registry._find_groups.cache_clear()


def write_diary(path, trials):
    lines = [
        f"{trial.task_id}: shrinkage={trial.configuration['shrinkage']!r}, power={trial.configuration['power']} -> "
        f"{trial.performance!r}"
        for trial in trials
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def ask_over_http(pipeline, meta_features):
    [port] = free_ports(1)
    server = make_server(Service(ChampionFollower(pipeline.registry)).app(), port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.05)
        body = json.dumps({"dataframe_records": [meta_features], "params": {"k": 3}}).encode()
        request = Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
        with urlopen(request) as response:  # noqa: S310
            [answer] = json.loads(response.read())["predictions"]
    finally:
        server.should_exit = True
        thread.join()
    return answer


def test_all_that_a_package_adds_goes_from_the_inbox_to_an_answer_over_http(pipeline, tmp_path):
    store = pipeline.store
    assert collect.build_catalogue(pipeline)["modalities"] == {"points": 6}
    collect.search_tasks(pipeline, TASKS)
    groups = {report["groups"] for report in collect.describe_tasks(pipeline, TASKS).values()}
    assert groups == {"shape version 1, outline version 2"}
    found = [
        trial
        for name in TASKS
        for trial in own_trials.search(pipeline, store.read_task(name), strategy="near_best", trials=5)
    ]

    # The history holds what the pipeline collected and what the strategy from outside found.
    assert collect.join_tasks(pipeline)["tasks"] == 6
    history = pd.read_parquet(store.meta_dataset_path)
    assert set(history["strategy"]) == {"sobol", "near_best"}
    assert set(history["source"]) == {"collected", "search"}
    assert {*META_FEATURES, "mf_outline.v2.log_items"} <= set(history.columns)

    assert fit.fit(pipeline)["name"] == MODEL
    evaluated = evaluate.evaluate(pipeline)
    assert {"recommended", "random", "portfolio", "nearest_task"} <= set(evaluated["summary"]["recommender"])
    assert evaluated["promoted"], evaluated["reason"]
    assert promote.promote(pipeline)["version"] == 1

    fresh = read_source(write_points(tmp_path / "fresh.points", 9))
    described = advise.describe_data(fresh)
    answer = advise.recommend(pipeline, described, 3)
    assert (answer["learner"], answer["lineage"]["surrogate_name"]) == ("nearest_centre", MODEL)
    assert answer["task"]["modality"] == "points"
    served = ask_over_http(pipeline, described.meta_features)
    assert served["recommendations"] == [
        {name: value for name, value in line.items() if name in served["recommendations"][0]}
        for line in answer["recommendations"]
    ]

    # The strategy from outside may learn from the champion's past tasks.
    proposer = choose_proposer(pipeline, fresh, "near_best", StrategyContext(pipeline.learner.space))
    assert set(proposer.strategy.context.past.task_ids) == set(TASKS)

    # What was written down elsewhere teaches a search as well.
    imported = import_trials("diary", write_diary(tmp_path / "trials.diary", found), output=tmp_path / "past.parquet")
    assert imported.kept == {"ok": 30}
    past = read_past(tmp_path / "past.parquet", pipeline.learner)
    own_trials.search(pipeline, fresh, strategy="recommended", trials=3, past=past, output=tmp_path / "new.parquet")
    assert pd.read_parquet(tmp_path / "new.parquet")["strategy"].tolist() == ["recommended"] * 3
