"""Runs of a real MLflow join the pipeline: new ones once, whatever is repeated, up to a champion of their learner."""

import math
import shutil

import dagster as dg
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from metaflow_hpo.actions import import_runs as module
from metaflow_hpo.actions.import_runs import ImportsFailedError, import_runs
from metaflow_hpo.actions.own_history import own_tasks
from metaflow_hpo.adapters.kept_trials import read_card
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.orchestration.assets import imported_runs, other_champions
from metaflow_hpo.orchestration.conditions import WHEN_DUE
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.settings import RunImport, Settings

pytestmark = pytest.mark.integration

RESNET = RunImport(
    learner="resnet",
    experiments=("vision *",),
    metric="val_acc",
    mode="max",
    task="tag:data",
    task_features=("tag:rows",),
)


class Store:
    """An MLflow store into which a person logs runs."""

    def __init__(self, uri):
        self.client, self.uri = MlflowClient(tracking_uri=uri), uri
        self.experiments = {}

    def log(self, data, rate, *, experiment="vision resnet", status="FINISHED", **more):
        if experiment not in self.experiments:
            self.experiments[experiment] = self.client.create_experiment(experiment)
        tags = {"data": data, "rows": str(100 * (1 + len(data)))}
        run = self.client.create_run(self.experiments[experiment], tags=tags).info.run_id
        given = {"lr": rate, "depth": 1 + int(-math.log10(rate)) % 3, "seed": 1, **more}
        reached = [0.9 - 0.05 * abs(math.log10(rate) + 3) - 0.1 / (1 + epoch) for epoch in range(3)]
        self.client.log_batch(
            run,
            params=[Param(name, str(value)) for name, value in given.items()],
            metrics=[Metric("val_acc", value, 0, epoch) for epoch, value in enumerate(reached)],
        )
        if status is not None:
            self.client.set_terminated(run, status)
        return run


@pytest.fixture(scope="module")
def logged(tmp_path_factory, mlflow_template):
    """Return a database with five runs on each of three tasks."""
    path = tmp_path_factory.mktemp("logged") / "mlflow.db"
    shutil.copy(mlflow_template, path)
    made = Store(f"sqlite:///{path}")
    for data in ("cats", "ships", "leaves"):
        for exponent in range(1, 6):
            made.log(data, 10.0**-exponent)
    return path, made.experiments


@pytest.fixture
def store(tmp_path, logged):
    path, experiments = logged
    (tmp_path / "data" / "mlflow").mkdir(parents=True)
    shutil.copy(path, tmp_path / "data" / "mlflow" / "mlflow.db")
    made = Store(Tracking.local(tmp_path / "data").tracking_uri)
    made.experiments |= experiments
    return made


def open_pipeline(tmp_path, *imports, **settings):
    return Pipeline(Settings(data=tmp_path / "data", imports=imports or (RESNET,), folds=3, **settings))


def trials_of(pipeline, name="resnet"):
    found = {}
    for own in own_tasks(pipeline).read():
        read = module.kept(pipeline, module.IMPORTED).read_trials(own.task)
        found[own.task.task_id] = [trial for trial in read if trial.learner == name]
    return found


def test_runs_become_trials_of_opaque_tasks_and_only_new_ones_are_read(tmp_path, store):
    pipeline = open_pipeline(tmp_path)
    report = import_runs(pipeline)["resnet"]
    assert (report["tasks"], report["trials"], report["new_runs"], report["changed"]) == (3, 15, 15, True)
    assert "seed" in report["left_out"]
    trials = trials_of(pipeline)
    assert sorted(trials) == ["cats", "leaves", "ships"]
    first = min(trials["cats"], key=lambda trial: trial.configuration["lr"])
    assert first.configuration == {"lr": 1e-5, "depth": 3}
    assert first.performance == pytest.approx(0.9 - 0.1 - 0.1 / 3)
    assert len(first.learning_curve) == 3
    assert own_tasks(pipeline).read()[0].meta_features == {"mf_rows": 500.0}

    again = import_runs(pipeline)["resnet"]
    assert (again["new_runs"], again["changed"], again["trials"]) == (0, False, 15)
    store.log("cats", 3e-4)
    store.log("boats", 1e-2, status="FAILED")
    store.log("boats", 1e-3, status=None)
    third = import_runs(pipeline)["resnet"]
    assert (third["new_runs"], third["changed"], third["trials"]) == (2, True, 17)
    assert third["dropped"] == {"running: not finished": 1}
    assert {name: len(found) for name, found in trials_of(pipeline).items()} == {
        "boats": 1, "cats": 6, "leaves": 5, "ships": 5
    }  # fmt: skip


def test_tasks_whose_names_differ_in_signs_only_stay_two(tmp_path, store):
    for data in ("a#b", "a%b"):
        for lr in (1e-4, 1e-3, 1e-2):
            store.log(data, lr, experiment="signs")
    pipeline = open_pipeline(tmp_path, RESNET.model_copy(update={"experiments": ("signs",), "task_features": ()}))
    import_runs(pipeline)
    found = trials_of(pipeline)
    assert sorted(name[:4] for name in found) == ["a_b_", "a_b_"]
    assert [len(trials) for trials in found.values()] == [3, 3]


def test_what_was_constant_at_first_and_varies_later_is_a_hyperparameter_of_all(tmp_path, store):
    for data in ("cats", "ships"):
        for momentum in (0.8, 0.9):
            store.log(data, 1e-2, experiment="one by one", momentum=momentum if data == "ships" else 0.9)
    chosen = RESNET.model_copy(update={"experiments": ("one *", "one by one"), "task_features": ()})
    pipeline = open_pipeline(tmp_path, chosen)
    import_runs(pipeline)
    trials = trials_of(pipeline)
    assert [sorted(t.configuration.get("momentum") for t in trials[name]) for name in ("cats", "ships")] == [
        [0.9, 0.9],  # the same twice: the second is a repetition
        [0.8, 0.9],
    ]
    assert [t.seed for t in trials["cats"]] == [0, 1]


def test_runs_that_are_deleted_are_forgotten(tmp_path, store):
    pipeline = open_pipeline(tmp_path)
    lonely = store.log("boats", 1e-2)
    assert import_runs(pipeline)["resnet"]["tasks"] == 4
    store.client.delete_run(lonely)
    report = import_runs(pipeline)["resnet"]
    assert (report["tasks"], report["changed"]) == (3, True)
    assert trials_of(pipeline)["boats"] == []


def test_one_import_that_fails_holds_up_no_other(tmp_path, store):
    missing = RESNET.model_copy(update={"learner": "unet", "experiments": ("segmentation",)})
    ours = RESNET.model_copy(update={"learner": "mlp"})
    pipeline = open_pipeline(tmp_path, missing, ours, RESNET)
    with pytest.raises(ImportsFailedError, match=r"2 of 3 .*unet: .*segmentation.*mlp: .*name of your own"):
        import_runs(pipeline)
    assert len(trials_of(pipeline)["cats"]) == 5


def test_a_learner_that_is_searched_with_here_keeps_its_space(tmp_path, store):
    pipeline = open_pipeline(tmp_path)
    import_runs(pipeline)
    card = module.read_json(pipeline.cards / "resnet.json")
    assert [hp["name"] for hp in card["space"]] == ["depth", "lr"]
    del card["imported"]
    narrower = [{**hp, "low": 1e-3, "default": 1e-2} if hp["name"] == "lr" else hp for hp in card["space"]]
    module.write_json(pipeline.cards / "resnet.json", {**card, "space": narrower})
    report = import_runs(pipeline)["resnet"]
    assert (report["trials"], report["dropped"]) == (9, {"outside of the search space that resnet has here": 6})


def test_what_may_not_be_learned_from_is_not_imported(tmp_path, tracking):
    with pytest.raises(MetaflowHPOError, match="`learn` forbids"):
        import_runs(open_pipeline(tmp_path, learn=False))


def test_a_learner_is_imported_once(tmp_path):
    with pytest.raises(ValueError, match="each learner once"):
        open_pipeline(tmp_path, RESNET, RESNET)


def test_dagster_imports_on_schedule_and_learns_of_what_is_new_alone(tmp_path, store, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("METAFLOW_HPO_IMPORTS", f"[{RESNET.model_dump_json()}]")
    assert imported_runs.automation_conditions_by_key[imported_runs.key] == WHEN_DUE
    with dg.DagsterInstance.ephemeral() as instance:

        def run(asset):
            return dg.materialize(
                [imported_runs, other_champions],
                selection=[asset],
                instance=instance,
                resources={"pipeline": PipelineResource()},
            )

        first = run(imported_runs)
        assert len(first.get_asset_materialization_events()) == 1
        assert len(run(imported_runs).get_asset_materialization_events()) == 0  # nothing new: nothing follows
        [event] = run(other_champions).get_asset_materialization_events()
    learned = event.materialization.metadata["resnet"].value
    assert (learned["tasks"], learned["trials"], learned["version"]) == (3, 15, 1)
    pipeline = Pipeline(Settings(learner="resnet"))
    assert read_card(pipeline.cards, "resnet") is not None
    assert pipeline.registry.version(1).name == "metaflow_hpo_surrogate.resnet"
