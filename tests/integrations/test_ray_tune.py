"""MetaSearcher in real experiments of Ray Tune, and by its contract."""

import math

import numpy as np
import pandas as pd
import pytest

ray = pytest.importorskip("ray")
tune = pytest.importorskip("ray.tune")

from metaflow_hpo.errors import MetaflowHPOError  # noqa: E402 - skipped without Ray
from metaflow_hpo.history import History  # noqa: E402
from metaflow_hpo.integrations.ray_tune import MetaSearcher  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
SPACE = {"lr": tune.loguniform(1e-5, 1e-1), "model": {"layers": tune.randint(1, 5)}, "epochs": 3}


def score(config):
    return -((math.log10(config["lr"]) + 3) ** 2) - 0.1 * (config["model"]["layers"] - 3) ** 2


@pytest.fixture(scope="module")
def past():
    drawn = np.random.default_rng(0)
    rows = [
        {"task_id": f"t{t}", "hp_lr": 10.0 ** drawn.uniform(-5, -1), "hp_model/layers": int(drawn.integers(1, 5))}
        for t in range(4)
        for _ in range(20)
    ]
    frame = pd.DataFrame(rows)
    loss = (np.log10(frame["hp_lr"]) + 3) ** 2 + 0.1 * (frame["hp_model/layers"] - 3) ** 2
    return History.from_frame(frame.assign(performance=-loss))


def run(searcher, count=6, report=lambda config: {"acc": score(config)}):
    """Drive a searcher as Tune does, one trial at a time."""
    searcher.set_search_properties("acc", "max", SPACE)
    configs = []
    for number in range(count):
        config = searcher.suggest(f"t{number}")
        configs.append(config)
        result = report(config) | {"training_iteration": 1}
        searcher.on_trial_result(f"t{number}", result)
        searcher.on_trial_complete(f"t{number}", result)
    return configs


def test_the_first_trial_is_informed_and_nested_names_are_joined(past):
    configs = run(MetaSearcher(past=past, seed=0))
    assert score(configs[0]) > -0.5
    assert {type(config["model"]["layers"]) for config in configs} == {int}


def test_a_metric_that_is_nan_or_missing_is_a_failed_trial(past, caplog):
    searcher = MetaSearcher(past=past, seed=0)
    answers = iter([{"acc": math.nan}, {"accuracy": 1.0}, {"acc": 0.5}])
    run(searcher, 3, lambda config: next(answers))
    assert [trial.state.name for trial in searcher._ot_study.trials] == ["FAIL", "FAIL", "COMPLETE"]
    assert "reported no acc, but 'accuracy'" in caplog.text


def test_a_trial_that_ends_early_is_a_stopped_one(past):
    searcher = MetaSearcher(past=past, seed=0)
    searcher.set_search_properties("acc", "max", SPACE)
    for name, epochs in (("a", 3), ("b", 1)):
        searcher.suggest(name)
        for epoch in range(1, epochs + 1):
            searcher.on_trial_result(name, {"acc": epoch / 9, "training_iteration": epoch})
        searcher.on_trial_complete(name, {"acc": epochs / 9, "training_iteration": epochs})
    whole, stopped = searcher._ot_study.trials
    assert (whole.state.name, stopped.state.name) == ("COMPLETE", "PRUNED")
    assert (whole.value, stopped.value) == (3 / 9, 1 / 9)


def test_known_points_of_a_function_are_tried_first_and_known_results_are_refused_aloud():
    def space(trial):
        trial.suggest_float("lr", 1e-5, 1e-1, log=True)

    points = [{"lr": 0.02}]
    searcher = MetaSearcher(space, metric="acc", mode="max", points_to_evaluate=points)
    assert searcher.suggest("a") == {"lr": 0.02}
    with pytest.raises(TypeError, match="Define-by-run"):
        MetaSearcher(space, metric="acc", mode="max", points_to_evaluate=points, evaluated_rewards=[0.5])


def test_points_may_be_nested(past):
    searcher = MetaSearcher(past=past, points_to_evaluate=[{"lr": 0.02, "model": {"layers": 4}}])
    assert run(searcher, 1) == [{"lr": 0.02, "model": {"layers": 4}}]


def test_it_is_saved_and_restored(past, tmp_path):
    searcher = MetaSearcher(past=past, seed=0)
    first = run(searcher, 2)
    searcher.save(str(tmp_path / "state"))
    again = MetaSearcher(past=past, seed=0)
    again.restore(str(tmp_path / "state"))
    assert again.suggest("next") == searcher.suggest("next") not in first


def test_results_are_learned_from_under_a_name(past, tmp_path):
    path = tmp_path / "past.parquet"
    past.write(path)
    with pytest.raises(MetaflowHPOError, match="Expected task_id"):
        MetaSearcher(past=path, learn=True)
    run(MetaSearcher(past=path, learn=True, task_id="mine"), 3)
    assert History.read(path).task_ids == ("mine", "t0", "t1", "t2", "t3")


@pytest.mark.slow
def test_a_real_experiment_is_searched_and_gone_on_with(past, tmp_path):
    def train(config):
        for epoch in range(1, 3):
            tune.report({"acc": score(config) - 1 / epoch})

    def fit(searcher, name):
        run_config = tune.RunConfig(name=name, storage_path=str(tmp_path), verbose=0)
        tune_config = tune.TuneConfig(metric="acc", mode="max", num_samples=4, search_alg=searcher)
        return tune.Tuner(train, param_space=SPACE, tune_config=tune_config, run_config=run_config).fit()

    ray.init("local", num_cpus=1, include_dashboard=False, ignore_reinit_error=True, log_to_driver=False)
    try:
        results = fit(MetaSearcher(past=past, seed=0), "first")
        assert results.num_errors == 0
        assert results.get_best_result().metrics["acc"] > -2.0
        searcher = MetaSearcher(past=past, seed=0, known=tmp_path / "first")
        fit(searcher, "second")
    finally:
        ray.shutdown()
    tried = [tuple(sorted(trial.params.items())) for trial in searcher._ot_study.trials]
    assert len(tried) == len(set(tried)) == 8
