"""A learner of a person's own goes all the way: searched, learned from, judged, promoted, asked and served."""

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pandas as pd
import pytest
from typer.testing import CliRunner

from metaflow_hpo.actions.own_history import has_own_trials
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.cli import app
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.recorded import RecordedLearner
from metaflow_hpo.settings import Settings
from tests.live import free_ports

HILL = '''
import json
from metaflow_hpo.learners.function import learner_from_function


def train(configuration, task, report):
    """A valley whose bottom lies where the task's data say; the loss has no bound."""
    bottom = float(task.address)
    return 3.0 + (configuration["x"] - bottom) ** 2 + (0.3 if configuration["kind"] == "bad" else 0.0)


hill = learner_from_function(
    train, {"x": {"type": "float", "low": 0.0, "high": 1.0}, "kind": ["good", "bad"]}, name="hill"
)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Iterator[Path]:
    """A project in which one learner was searched on six opaque tasks, fitted, evaluated and promoted."""
    root = tmp_path_factory.mktemp("platform")
    (root / "data" / "mlflow").mkdir(parents=True)
    (root / "data" / "mlflow" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    (root / "hill_module.py").write_text(HILL)
    for t in range(7):
        write_task(root / f"task_{t}.yaml", t)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METAFLOW_HPO_DATA", str(root / "data"))
        patch.chdir(root)
        patch.syspath_prepend(str(root))
        for t in range(6):
            run(f"search task_{t}.yaml --learner hill_module:hill --strategy random --trials 14 --seed {t}")
        run("fit --learner hill")
        yield root


def write_task(path: Path, t: int) -> None:
    bottom = 0.1 + 0.02 * t
    lines = ["metric: {name: loss, direction: min}", f"data: '{bottom}'"]
    # One of them is described by nothing.
    lines += [f"meta_features: {{bottom: {bottom}}}"] if t != 2 else []
    path.write_text("\n".join(lines))


def run(line: str) -> Any:
    found = CliRunner().invoke(app, [*line.split(), "--json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_every_step_works_for_a_learner_of_a_persons_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(folder / "data"))
    history = pd.read_parquet(folder / "data" / "learners" / "hill" / "meta_dataset.parquet")
    assert len(history) == 6 * 14
    assert set(history["source"]) == {"search"}
    assert set(history["strategy"]) == {"random"}
    # Before there is a champion the candidate answers, by the name of its learner alone.
    answer = run("recommend task_6.yaml --learner hill --k 3")
    assert (answer["learner"], answer["lineage"]["surrogate_name"]) == ("hill", "metaflow_hpo_surrogate.hill")
    evaluated = run("evaluate --learner hill")
    assert evaluated["promoted"], evaluated["reason"]
    assert evaluated["metrics"]["regret/recommended_k1"] < evaluated["metrics"]["regret/random_k1"]
    promoted = run("promote 1 --learner hill --reason good")
    assert (promoted["name"], promoted["previous"]) == ("metaflow_hpo_surrogate.hill", None)
    # Nobody else's champion is touched.
    assert run("status")["champion"] is None
    assert run("status --learner hill")["champion"]["version"] == 1
    assert run("audit")["decisions"] == []
    assert [d["outcome"] for d in run("audit --learner hill")["decisions"]] == ["promoted"]
    assert run("lineage 1 --learner hill")["version"]["is_champion"]
    assert not (folder / "data" / "champion.json").exists()

    answer = run("recommend task_6.yaml --learner hill --k 3")
    first = answer["recommendations"][0]
    assert first["performance"]["metric"] == "loss"
    assert 3.0 < first["performance"]["mean"] < 3.3  # in the metric's own units
    loss = 3.0 + (first["configuration"]["x"] - 0.22) ** 2 + 0.3 * (first["configuration"]["kind"] == "bad")
    assert loss < 3.02
    found = run("search task_6.yaml --learner hill_module:hill --trials 3")
    assert found["strategy"] == "recommended"
    assert math.isclose(found["best"]["performance"], -3.0, abs_tol=0.02)


def test_a_new_search_teaches_the_next_fit_and_a_rollback_is_one_learners_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(folder / "data"))
    run("search task_6.yaml --learner hill_module:hill --strategy random --trials 4 --seed 9")
    fitted = run("fit --learner hill")
    assert (fitted["name"], fitted["version"], fitted["metrics"]["tasks"]) == ("metaflow_hpo_surrogate.hill", 2, 7.0)
    assert run("fit --learner hill")["reused"]
    assert run("evaluate --learner hill")["incumbent"] == "champion"
    run("promote 2 --learner hill --reason newer")
    assert run("promote 1 --learner hill --reason back")["previous"] == 2
    settings = {"data": folder / "data", "learner": "hill"}
    assert has_own_trials(Pipeline(Settings(**settings)))
    assert not has_own_trials(Pipeline(Settings(**settings, learn=False)))


def test_the_service_answers_for_one_learner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaflow_hpo.adapters.serving.app import Service
    from metaflow_hpo.adapters.serving.champion import ChampionFollower
    from metaflow_hpo.adapters.serving.host import make_server

    registry = Pipeline(Settings(data=folder / "data", learner="hill")).registry
    [port] = free_ports(1)
    server = make_server(Service(ChampionFollower(registry)).app(), port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.05)
        for row in ({"mf_given.bottom": 0.22}, {}):
            body = json.dumps({"dataframe_records": [row], "params": {"k": 2}}).encode()
            request = Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
            with urlopen(request) as response:  # noqa: S310
                [answer] = json.loads(response.read())["predictions"]
            assert (answer["learner"], len(answer["recommendations"])) == ("hill", 2)
            assert answer["lineage"]["surrogate_name"] == "metaflow_hpo_surrogate.hill"
    finally:
        server.should_exit = True
        thread.join()


def test_without_its_code_a_learner_is_known_but_trains_nothing(folder: Path) -> None:
    known = Pipeline(Settings(data=folder / "data", learner="hill")).learner
    assert isinstance(known, RecordedLearner)
    assert known.space.names == ("x", "kind")
    with pytest.raises(MetaflowHPOError, match="Expected the code of the learner 'hill'"):
        known.train(None, [], fidelity=1, seed=0)


def test_too_few_tasks_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_template: Path) -> None:
    (tmp_path / "data" / "mlflow").mkdir(parents=True)
    (tmp_path / "data" / "mlflow" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    (tmp_path / "few_module.py").write_text(HILL)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_task(tmp_path / "one.yaml", 0)
    write_task(tmp_path / "two.yaml", 1)
    run("search one.yaml --learner few_module:hill --strategy random --trials 5")
    found = CliRunner().invoke(app, ["fit", "--learner", "hill"])
    assert found.exit_code != 0
    assert "at least 2 families" in str(found.exception or found.output)
    run("search two.yaml --learner few_module:hill --strategy random --trials 5")
    run("fit --learner hill")
    found = CliRunner().invoke(app, ["evaluate", "--learner", "hill"])
    assert found.exit_code != 0
    assert "at least 3 families" in str(found.exception or found.output)
