import json
import math

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.metric import Metric
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace
from metaflow_hpo.tables import (
    SCORE_NAMES,
    TRIAL_COLUMNS,
    complete_catalogue,
    frame_to_trials,
    join_meta_dataset,
    read_configuration,
    record_to_trial,
    tasks_to_frame,
    trial_to_record,
    trials_to_frame,
    validate_catalogue,
    validate_meta_features,
    validate_trials,
)
from metaflow_hpo.task import Task
from metaflow_hpo.trial import Trial

SPACE = SearchSpace(
    (
        Float("learning_rate", 1e-4, 1.0, 0.01, log=True),
        Categorical("optimizer", ("sgd", "adam"), "adam"),
        Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd",))),
        Integer("layers", 1, 4, 2),
    )
)
SGD = {"learning_rate": 0.1, "optimizer": "sgd", "momentum": 0.9, "layers": 3}
ADAM = {"learning_rate": 0.00123457, "optimizer": "adam", "layers": 2}


def make_trial(configuration=ADAM, **changes):
    fields = {
        "task_id": "iris",
        "family": "flowers",
        "learner": "mlp",
        "configuration": configuration,
        "strategy": "sobol",
        "seed": 0,
        "fidelity": 3,
        "performance": 0.1 + 0.2,
        "test_performance": 0.25,
        "duration_s": 1.5,
        "scores": {"accuracy": 1 / 3, "test_log_loss": 0.7},
        "learning_curve": (0.25, 0.5, 0.75),
    }
    return Trial(**{**fields, **changes})


def make_failed(configuration=SGD, **changes):
    failure = {
        "status": "failed",
        "reason": "diverged: loss 1e9",
        "performance": math.nan,
        "test_performance": math.nan,
    }
    return make_trial(configuration, scores={}, learning_curve=(), **{**failure, **changes})


TRIALS = [make_trial(), make_failed(), make_trial(SGD, seed=1, scores={})]


def test_trials_survive_the_way_through_a_parquet_file(tmp_path):
    trials_to_frame(TRIALS).to_parquet(tmp_path / "trials.parquet")
    frame = pd.read_parquet(tmp_path / "trials.parquet")
    assert frame_to_trials(frame, SPACE) == TRIALS
    assert frame_to_trials(validate_trials(frame), SPACE) == TRIALS


def test_a_table_of_no_trials_survives_the_way_through_a_parquet_file(tmp_path):
    trials_to_frame([]).to_parquet(tmp_path / "trials.parquet")
    assert frame_to_trials(validate_trials(pd.read_parquet(tmp_path / "trials.parquet")), SPACE) == []


def test_learning_curves_are_kept_in_float32_precision():
    (trial,) = frame_to_trials(trials_to_frame([make_trial(learning_curve=(0.1, 1 / 3))]), SPACE)
    assert trial.learning_curve == (float(np.float32(0.1)), float(np.float32(1 / 3)))


def test_columns_have_their_order_and_types():
    frame = trials_to_frame(TRIALS)
    hyperparameters = ["hp_learning_rate", "hp_optimizer", "hp_layers", "hp_momentum"]
    assert list(frame.columns) == [*TRIAL_COLUMNS, *SCORE_NAMES, "learning_curve", *hyperparameters]
    assert frame["hp_layers"].dtype == np.float64
    assert frame["hp_momentum"].isna().tolist() == [True, False, False]
    assert frame["hp_optimizer"].tolist() == ["adam", "sgd", "sgd"]
    assert frame["seed"].dtype == np.int64
    assert frame["configuration_id"].tolist() == [trial.configuration_id for trial in TRIALS]
    assert frame.loc[0, "accuracy"] == 1 / 3
    assert math.isnan(frame.loc[0, "r2"])


def test_an_inactive_choice_is_missing_and_comes_back_absent(tmp_path):
    space = SearchSpace(
        (
            Categorical("kernel", ("linear", "rbf"), "rbf"),
            Categorical("gamma", ("auto", "scale"), "scale", condition=Condition("kernel", ("rbf",))),
        )
    )
    trials = [make_trial({"kernel": "linear"}), make_trial({"kernel": "rbf", "gamma": "auto"})]
    trials_to_frame(trials).to_parquet(tmp_path / "trials.parquet")
    assert frame_to_trials(pd.read_parquet(tmp_path / "trials.parquet"), space) == trials


def test_a_score_of_ones_own_has_a_column_of_its_own():
    trials = [make_trial(scores={"f1": 1.0, "test_f1": 0.5}), make_trial(SGD, scores={"accuracy": 0.25})]
    frame = trials_to_frame(trials)
    assert frame["score_f1"].tolist()[0] == 1.0
    assert frame_to_trials(frame, SPACE) == trials


def test_trials_of_another_space_are_refused():
    other = SearchSpace((Float("learning_rate", 1e-4, 1.0, 0.01, log=True),))
    with pytest.raises(SearchSpaceMismatchError, match="Unknown hyperparameters"):
        frame_to_trials(trials_to_frame(TRIALS), other)


def test_a_frame_without_a_column_cannot_become_trials():
    with pytest.raises(InvalidTableError, match="\\['family'\\] are missing"):
        frame_to_trials(trials_to_frame(TRIALS).drop(columns="family"), SPACE)


@pytest.mark.parametrize("trial", TRIALS)
def test_a_record_is_strict_json_and_exact(trial):
    text = json.dumps(trial_to_record(trial), allow_nan=False)
    assert record_to_trial(json.loads(text)) == trial


def test_a_record_without_a_field_is_refused():
    record = trial_to_record(TRIALS[0])
    del record["scores"]
    with pytest.raises(InvalidTableError, match="misses 'scores'"):
        record_to_trial(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns=["seed"]), "column 'seed' is missing"),
        (lambda frame: frame.assign(status="running"), "row 0, status: expected isin.*found 'running'"),
        (lambda frame: pd.concat([frame, frame.head(1)]), "Found 1 trials listed twice, the first: task_id=iris"),
        (lambda frame: frame.assign(performance=math.inf), "ok trials without a finite performance"),
        (lambda frame: frame.assign(performance=1.0), "Found 1 trials that are not ok with a performance"),
        (lambda frame: frame.assign(family=["a", "b", "a"]), "tasks with more than one family.*family=b"),
        (lambda frame: frame.assign(seed=[0.5, 1, 2]), "values of seed that are not whole numbers"),
        (lambda frame: frame.assign(task_id=None), "task_id: expected not_nullable"),
        (lambda frame: frame.assign(task_id=""), "task_id: expected str_length"),
        (lambda frame: frame.assign(performance="good"), "performance: expected coerce_dtype"),
        (lambda frame: frame.assign(duration_s=-1.0), "duration_s: expected greater_than_or_equal_to"),
        (lambda frame: frame.assign(fidelity_epochs=0), "fidelity_epochs: expected greater_than_or_equal_to"),
    ],
)
def test_an_invalid_table_of_trials_is_refused_with_its_rows(change, message):
    with pytest.raises(InvalidTableError, match=message):
        validate_trials(change(trials_to_frame(TRIALS)))


def test_a_message_lists_the_first_rows_only():
    frame = trials_to_frame([make_trial(seed=seed) for seed in range(20)]).assign(status="running")
    with pytest.raises(InvalidTableError, match="and 15 more"):
        validate_trials(frame)


def test_types_are_corrected():
    frame = trials_to_frame(TRIALS).astype({"seed": "float64", "performance": "object"})
    valid = validate_trials(frame)
    assert valid["seed"].dtype == np.int64
    assert valid["performance"].dtype == np.float64


META = pd.DataFrame({"task_id": ["iris", "wine"], "mf_rows": [1, 2], "note": ["a", "b"]})


def test_meta_features_become_float64():
    assert validate_meta_features(META)["mf_rows"].dtype == np.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(mf_rows=[1.0, math.nan]), "row 1, mf_rows: expected not_nullable"),
        (lambda frame: frame.assign(mf_rows=[math.inf, 1.0]), "row 0, mf_rows: expected must be finite"),
        (lambda frame: frame.assign(task_id="iris"), "task_id: expected field_uniqueness"),
        (lambda frame: frame.drop(columns="task_id"), "column 'task_id' is missing"),
    ],
)
def test_invalid_meta_features_are_refused(change, message):
    with pytest.raises(InvalidTableError, match=message):
        validate_meta_features(change(META))


def make_catalogue():
    texts = {
        "modality": "table",
        "kind": "binary",
        "metric": "accuracy",
        "target": "y",
        "licence": "CC0",
        "source": "inbox/a.csv",
    }
    sizes = {"rows": 10, "columns": 2, "classes": 2, "test_rows": 2}
    return pd.DataFrame([{"task_id": name, "family": name, **texts, **sizes} for name in ("a", "b")])


def test_a_catalogue_is_accepted():
    assert validate_catalogue(make_catalogue())["task_id"].tolist() == ["a", "b"]


@pytest.mark.parametrize("column", ["licence", "source", "family"])
@pytest.mark.parametrize("empty", ["", None])
def test_a_catalogue_with_an_empty_text_is_refused(column, empty):
    with pytest.raises(InvalidTableError, match=f"row 1, {column}"):
        validate_catalogue(make_catalogue().assign(**{column: ["x", empty]}))


def test_a_catalogue_from_before_there_were_modalities_is_one_of_tables():
    old = make_catalogue().drop(columns=["modality"])
    assert complete_catalogue(old)["modality"].tolist() == ["table", "table"]
    new = make_catalogue().assign(modality="image")
    assert complete_catalogue(new) is new


def test_tasks_of_every_modality_stand_in_one_catalogue():
    metric = Metric("seconds", "min", low=0.0)
    task = Task(task_id="a", family="a", modality="opaque", metric=metric, licence="CC0", source="s", sha256="0")
    [line] = tasks_to_frame([task]).to_dict("records")
    assert Metric.read(line["metric"]) == metric
    assert (line["modality"], line["kind"], line["rows"], line["columns"]) == ("opaque", "", 0, 0)


def test_a_catalogue_with_a_repeated_id_is_refused():
    with pytest.raises(InvalidTableError, match="field_uniqueness"):
        validate_catalogue(make_catalogue().assign(task_id="a"))


def test_the_meta_data_set_keeps_the_trials_in_order_and_appends_meta_features():
    trials = trials_to_frame(TRIALS)
    joined = join_meta_dataset(trials, META)
    pd.testing.assert_frame_equal(joined[list(trials.columns)], trials)
    assert joined["mf_rows"].tolist() == [1, 1, 1]
    assert "note" not in joined


def test_a_task_without_meta_features_is_named():
    trials = trials_to_frame([make_trial(task_id="digits")])
    with pytest.raises(InvalidTableError, match="1 tasks have trials but no meta-features: 'digits'"):
        join_meta_dataset(trials, META)


def test_a_task_with_two_rows_of_meta_features_is_named():
    with pytest.raises(InvalidTableError, match=r"two rows of meta-features.*task_id=iris"):
        join_meta_dataset(trials_to_frame(TRIALS), pd.concat([META, META]))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_an_inactive_hyperparameter_is_left_out_of_its_configuration(missing):
    space = SearchSpace(
        (
            Categorical("optimizer", ("sgd", "adam"), "adam"),
            Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd",))),
            Integer("width", 1, 9, 2),
        )
    )
    row = {"hp_optimizer": "adam", "hp_momentum": missing, "hp_width": 3.0}
    configuration = read_configuration(row, space)
    assert configuration == {"optimizer": "adam", "width": 3}
    assert isinstance(configuration["width"], int)


def test_a_whole_number_may_come_as_a_real_one_but_is_never_cut():
    row = {"hp_learning_rate": 0.1, "hp_optimizer": "adam", "hp_layers": 2.0}
    assert read_configuration(row, SPACE)["layers"] == 2
    with pytest.raises(SearchSpaceMismatchError, match=r"layers must be a whole number in \[1, 4\]; got 2\.7"):
        read_configuration({**row, "hp_layers": 2.7}, SPACE)


def test_columns_that_the_space_does_not_have_are_left_out():
    row = {"hp_learning_rate": 0.1, "hp_optimizer": "adam", "hp_layers": 2, "hp_comment": "good", "seed": 1}
    assert read_configuration(row, SPACE) == {"learning_rate": 0.1, "optimizer": "adam", "layers": 2}


MIXED = SearchSpace(
    (
        Categorical("mode", ("plain", "NA", "1", 1, True, None, 0.5, "true"), "plain"),
        Categorical("flag", (True, False), True),
        Categorical("width", (16, 32), 16),
        Categorical("bits", ("8", "16"), "8"),
        Categorical("extra", (None, "x"), None, condition=Condition("flag", (True,))),
    )
)


def make_mixed_trials():
    trials = []
    for number, mode in enumerate(MIXED.hyperparameters[0].choices):
        configuration = {"mode": mode, "flag": number % 2 == 0, "width": (16, 32)[number % 2], "bits": "8"}
        if configuration["flag"]:
            configuration["extra"] = None if number else "x"
        trials.append(make_trial(configuration))
    return trials


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("chosen", [slice(None), slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5), slice(5, 8)])
def test_choices_of_any_type_survive_the_way_through_a_file(tmp_path, ending, chosen):
    trials = make_mixed_trials()[chosen]
    frame = trials_to_frame(trials).drop(columns="learning_curve")
    path = tmp_path / f"trials.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
        back = pd.read_csv(path)
    else:
        frame.to_parquet(path)
        back = pd.read_parquet(path)
    found = [dict(trial.configuration) for trial in frame_to_trials(back, MIXED)]
    assert [json.dumps(c) for c in found] == [json.dumps(dict(trial.configuration)) for trial in trials]


def test_choices_of_any_type_survive_a_record():
    for trial in make_mixed_trials():
        back = record_to_trial(json.loads(json.dumps(trial_to_record(trial))))
        assert json.dumps(dict(back.configuration)) == json.dumps(dict(trial.configuration))


def test_a_unit_other_than_epochs_has_a_column_of_its_own(tmp_path):
    steps = [make_trial(fidelity=700, fidelity_unit="steps")]
    frame = trials_to_frame(steps)
    assert frame["fidelity_steps"].tolist() == [700]
    assert "fidelity_epochs" not in frame.columns
    assert frame_to_trials(validate_trials(frame), SPACE) == steps
    assert record_to_trial(json.loads(json.dumps(trial_to_record(steps[0])))) == steps[0]
    both = trials_to_frame([*steps, make_trial()])
    both.to_parquet(tmp_path / "trials.parquet")
    both = validate_trials(pd.read_parquet(tmp_path / "trials.parquet"))
    assert frame_to_trials(both, SPACE) == [*steps, make_trial()]
    with pytest.raises(InvalidTableError, match="values of fidelity_steps that are not whole numbers"):
        validate_trials(both.assign(fidelity_steps=[1.5, math.nan]))
    with pytest.raises(InvalidTableError, match="A trial has one fidelity"):
        frame_to_trials(both.assign(fidelity_steps=math.nan, fidelity_epochs=math.nan), SPACE)
