import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from metaflow_hpo.adapters import tracking as tracking_module
from metaflow_hpo.adapters.run import Run
from metaflow_hpo.adapters.tracking import EXPERIMENTS, Tracking, keeping_global_address
from metaflow_hpo.errors import MetaflowHPOError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]


def run_count(tracking: Tracking, step: str) -> int:
    client = tracking.client()
    experiment = client.get_experiment_by_name(f"metaflow_hpo/{step}")
    assert experiment is not None
    return len(client.search_runs([experiment.experiment_id]))


def artifacts_of(tracking: Tracking, run_id: str, folder: str = "") -> list[str]:
    return sorted(item.path for item in tracking.client().list_artifacts(run_id, folder or None))


def fail_after_logging(run: Run) -> float:
    run.log_params({"a": 1})
    return 1 // 0


def test_two_processes_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from metaflow_hpo.adapters.tracking import Tracking; "
    code += "t = Tracking.local(Path(sys.argv[1])); t.prepare()\n"
    code += "with t.parent_run('s', 'n', {}): pass"
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    start = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(start, stderr=subprocess.PIPE, env=environment, cwd=tmp_path) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert run_count(Tracking.local(tmp_path), "s") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow"]


def test_a_run_holds_what_was_logged(tracking: Tracking, tmp_path: Path) -> None:
    figure = Figure()
    figure.subplots().plot([0, 1])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    with tracking.parent_run("surrogate", "surrogate on 40 tasks", {"dagster.run_id": "r1"}) as run:
        run.log_metrics({"regret": 0.25, "rank": 3}, step=2)
        run.log_curve("loss", [3.0, 2.0, 1.5])
        run.log_params({"layers": 2, "name": "x"})
        run.log_table(pd.DataFrame({"a": [1, 2]}), "tables/regret")
        run.log_figure(figure, "plots/regret.png")
        run.log_file(tmp_path / "folder" / "a.txt")
        run.log_folder(tmp_path / "folder", "surrogate")
        run.set_tags({"data.meta_dataset.md5": "0" * 32})
    client = tracking.client()
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "surrogate on 40 tasks"
    assert found.data.metrics == {"regret": 0.25, "rank": 3, "loss": 1.5}
    assert [(point.step, point.value) for point in client.get_metric_history(run.run_id, "loss")] == [
        (0, 3),
        (1, 2),
        (2, 1.5),
    ]
    assert found.data.params == {"layers": "2", "name": "x"}
    assert found.data.tags.items() >= {"dagster.run_id": "r1", "data.meta_dataset.md5": "0" * 32}.items()
    assert artifacts_of(tracking, run.run_id) == ["a.txt", "plots", "surrogate", "tables"]
    assert artifacts_of(tracking, run.run_id, "tables") == ["tables/regret.csv", "tables/regret.parquet"]
    assert artifacts_of(tracking, run.run_id, "plots") == ["plots/regret.png"]


def test_artifacts_lie_under_the_artifact_root_whatever_the_current_folder(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with Tracking(tracking.tracking_uri).parent_run("evaluate", "e", {}) as run:
        run.log_table(pd.DataFrame({"a": [1]}), "t")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    stored = tmp_path / "data" / "mlflow" / "artifacts" / "evaluate" / run.run_id / "artifacts"
    assert sorted(path.name for path in stored.iterdir()) == ["t.csv", "t.parquet"]


def test_values_that_are_not_finite_are_left_out_and_named(tracking: Tracking) -> None:
    with tracking.parent_run("s", "n", {}) as run:
        run.log_metrics({"a": float("nan"), "b": None, "c": 1.0})
        run.log_metrics({"a": float("inf")})
        run.log_curve("loss", [1.0, float("nan"), 0.5])
    found = tracking.client().get_run(run.run_id).data
    assert found.metrics == {"c": 1.0, "loss": 0.5}
    assert found.tags["metrics.not_finite"] == "a, b, loss"


def test_more_values_than_one_call_takes_are_all_recorded(tracking: Tracking) -> None:
    with tracking.parent_run("s", "n", {}) as run:
        run.log_curve("loss", [float(step) for step in range(1200)])
        run.log_params({f"p{i}": i for i in range(150)})
        run.set_tags({f"t{i}": i for i in range(150)})
    found = tracking.client().get_run(run.run_id).data
    assert len(tracking.client().get_metric_history(run.run_id, "loss")) == 1200
    assert len(found.params) == 150
    assert found.tags["t149"] == "149"


def test_a_step_that_is_tried_again_resumes_its_run(tracking: Tracking) -> None:
    keys = {"dagster.run_id": "it's r1", "dagster.partition": "iris"}
    with pytest.raises(ZeroDivisionError), tracking.parent_run("s", "first", keys) as run:
        fail_after_logging(run)
    failed = tracking.client().get_run(run.run_id)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["failure"] == "ZeroDivisionError: integer division or modulo by zero"
    with tracking.parent_run("s", "second", keys) as again:
        assert tracking.client().get_run(run.run_id).info.status == "RUNNING"
        again.log_params({"a": 1, "b": 2})
    assert again.run_id == run.run_id
    found = tracking.client().get_run(run.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "second")
    assert "failure" not in found.data.tags
    assert run_count(tracking, "s") == 1
    with tracking.parent_run("s", "other", {**keys, "dagster.partition": "wine"}) as other:
        assert other.run_id != run.run_id


def test_without_key_tags_every_run_is_new(tracking: Tracking) -> None:
    for _ in range(2):
        with tracking.parent_run("s", "n", {}):
            pass
    assert run_count(tracking, "s") == 2


def test_settings_of_a_resumed_run_cannot_change(tracking: Tracking) -> None:
    with tracking.parent_run("s", "n", {"key": "1"}) as run:
        run.log_params({"a": 1})
    with (
        pytest.raises(MetaflowHPOError, match=r"other settings .*\('1', '2'\).*Use other key tags"),
        tracking.parent_run("s", "n", {"key": "1"}) as run,
    ):
        run.log_params({"a": 2})


def test_children_are_nested_and_found_again_under_their_parent_only(tracking: Tracking) -> None:
    with tracking.parent_run("s", "parent", {"key": "1"}) as parent:
        with tracking.child_run(parent.run_id, "child", {"fold": "0"}) as child:
            child.log_metrics({"a": 1})
        with tracking.child_run(parent.run_id, "child", {"fold": "0"}) as again:
            pass
    with (
        tracking.parent_run("s", "parent", {"key": "2"}) as other,
        tracking.child_run(other.run_id, "child", {"fold": "0"}) as stranger,
    ):
        pass
    assert child.run_id == again.run_id != stranger.run_id
    assert tracking.client().get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id
    assert tracking.resume(child.run_id).client.get_run(child.run_id).data.metrics == {"a": 1}


def test_nothing_leaks_into_the_global_state_of_mlflow(tracking: Tracking) -> None:
    import mlflow

    # Lightning's logger sets the global address; whatever it is, ours is another one and must not replace it.
    before = mlflow.get_tracking_uri()
    with tracking.parent_run("s", "n", {}) as run:
        run.log_metrics({"a": 1})
        assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before != tracking.tracking_uri


def test_a_deleted_experiment_is_restored(tracking: Tracking) -> None:
    with tracking.parent_run("s", "n", {}):
        pass
    experiment = tracking.client().get_experiment_by_name("metaflow_hpo/s")
    assert experiment is not None
    tracking.client().delete_experiment(experiment.experiment_id)
    with tracking.parent_run("s", "n", {}) as run:
        run.log_metrics({"a": 1})
    assert run_count(tracking, "s") >= 1


def test_a_key_tag_with_both_quotes_is_refused(tracking: Tracking) -> None:
    with (
        pytest.raises(MetaflowHPOError, match="single or double quotes, not both"),
        tracking.parent_run("s", "n", {"a": "'\""}),
    ):
        pass


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(
        MetaflowHPOError, match=r"Expected MLflow's database in .*mlflow\.db; found: file is not a database"
    ):
        Tracking.local(tmp_path).prepare()


def test_every_experiment_has_a_group_and_says_what_is_seen_there() -> None:
    package = Path(tracking_module.__file__).parents[1]
    named = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"parent_run\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    assert {"surrogate", "knowledge_report", "training"} <= named
    assert sorted(named - EXPERIMENTS.keys()) == []
    assert all(group[0].isdigit() and note.endswith(".") for group, note in EXPERIMENTS.values())


def test_the_global_address_is_put_back_whatever_a_library_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with keeping_global_address():
        mlflow.set_tracking_uri("sqlite:///theirs.db")
    assert not mlflow.is_tracking_uri_set()
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    with keeping_global_address():
        mlflow.set_tracking_uri("sqlite:///theirs.db")
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    mlflow.set_tracking_uri(None)
