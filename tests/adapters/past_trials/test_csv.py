import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "t.csv"
        path.write_text(text)
        return path

    return write


def test_results_made_by_hand_need_parameters_and_a_score_only(csv, read, spaces):
    found = read("csv", csv("lr,opt,score\n0.1,sgd,0.5\n0.01,adam,0.75\n0.001,sgd,0.6\n"), mode="max", task="name:iris")
    assert found.frame["performance"].tolist() == [0.5, 0.75, 0.6]
    assert (spaces(found)["lr"]["low"], spaces(found)["lr"]["high"]) == (0.001, 0.1)
    assert spaces(found)["opt"]["choices"] == ["adam", "sgd"]


def test_what_cannot_be_known_is_asked_for_at_once(csv, read):
    with pytest.raises(InvalidTableError, match=r"--mode max or --mode min, .*; --task COLUMN, .*one of 'lr', 'opt'"):
        read("csv", csv("lr,opt,score\n0.1,sgd,0.5\n0.01,adam,0.75\n"))
    with pytest.raises(InvalidTableError, match=r"--metric NAME, its name, one of 'val_acc', 'val_loss'; --mode max"):
        read("csv", csv("lr,val_acc,val_loss\n0.1,0.5,1\n0.01,0.75,2\n"))


def test_usual_columns_are_known_and_measurements_are_no_hyperparameters(csv, read, spaces):
    text = (
        "dataset,lr,batch_size,val_loss,train_loss,test_val_loss,status,runtime,run_id\n"
        "iris,0.1,32,0.5,0.4,0.6,COMPLETE,1.5,ab\niris,0.01,64,0.4,0.3,0.5,FAILED,0 days 00:01:00,cd\n"
        "wine,0.1,32,0.3,0.2,0.4,done,00:00:02,ef\nwine,0.2,16,0.2,0.1,0.3,running,1,gh\n"
    )
    found = read("csv", csv(text), metric="val_loss", mode="min")
    assert found.frame["task_id"].tolist() == ["iris", "iris", "wine"]
    assert found.frame["status"].tolist() == ["ok", "failed", "ok"]
    assert found.frame["duration_s"].tolist() == [1.5, 60.0, 2.0]
    assert found.frame["test_performance"].tolist() == [0.6, 0.5, 0.4]
    assert set(spaces(found)) == {"lr", "batch_size"}
    assert found.left_out == {"train_loss": "looks like a measurement"}
    assert found.dropped == {"running: not finished": 1}


@pytest.mark.parametrize("prefix", ["params_", "params.", "param_", "config/", "config.", "hparams/"])
def test_prefixes_of_tools_are_known(csv, read, spaces, prefix):
    text = f"task,{prefix}lr,{prefix}opt,value,note\na,0.1,sgd,1,x\na,0.2,None,2,y\nb,0.3,adam,3,z\n"
    found = read("csv", csv(text), mode="max")
    assert set(spaces(found)) == {"lr", "opt"}
    assert spaces(found)["opt"]["choices"] == ["adam", "sgd", None]


def test_one_line_an_epoch_is_a_learning_curve_and_no_repetition(csv, read):
    lines = [
        f"a,{trial},{lr},{epoch},{score}"
        for trial, lr in ((0, 0.1), (1, 0.2))
        for epoch, score in enumerate((0.1, 0.3, "nan" if trial else 0.25))
    ]
    found = read("csv", csv("task,trial_id,lr,epoch,score\n" + "\n".join(lines)), mode="max")
    assert len(found.frame) == 2
    assert found.frame["learning_curve"][0].tolist() == [0.1, 0.3, 0.25]
    assert found.frame["performance"][0] == 0.25
    assert found.frame["reason"][1] == "score is nan"  # the curve is kept, and the point is ignored
    assert found.frame["learning_curve"][1].tolist() == [0.1, 0.3]
    best = read("csv", csv("task,trial_id,lr,epoch,score\n" + "\n".join(lines)), mode="max", at="best")
    assert best.frame["performance"].tolist() == [0.3, 0.3]


def test_lines_without_a_trials_name_are_told_apart_by_their_configuration(csv, read):
    text = "task,hp_lr,epoch,score\na,0.1,1,0.1\na,0.1,2,0.2\na,0.2,1,0.3\na,0.2,2,0.4\n"
    assert read("csv", csv(text), mode="max").frame["performance"].tolist() == [0.2, 0.4]


def test_a_number_or_none_is_a_choice_where_the_gap_is_not_explained(csv, read, spaces):
    text = "task,max_depth,min_leaf,score\na,3,1,0.5\na,,2,0.6\na,5,1,0.7\na,None,2,0.8\na,3,2,0.8\n"
    found = read("csv", csv(text), mode="max")
    assert spaces(found)["max_depth"]["choices"] == [3, 5, None]
    assert found.notes == ["Empty cells of 'max_depth' were read as the choice None."]


def test_what_a_person_says_is_no_hyperparameter_is_left_out(csv, read):
    text = "task,lr,host_name,score\na,0.1,x,0.5\na,0.2,y,0.6\nb,0.1,x,0.7\n"
    found = read("csv", csv(text), mode="max", leave_out=["host_name"])
    assert found.left_out == {"host_name": "left out as asked"}


def test_an_unknown_status_and_an_uneven_line_are_refused(csv, read):
    with pytest.raises(InvalidTableError, match="Unknown status 'meh'"):
        read("csv", csv("task,lr,score,status\na,0.1,0.5,ok\na,0.2,0.5,meh\n"), mode="max")
    with pytest.raises(InvalidTableError, match=r"Expected 3 fields on every line of .*; found 2 on line 3"):
        read("csv", csv("task,lr,score\na,0.1,0.5\na,0.2\n"), mode="max")
    with pytest.raises(InvalidTableError, match=r"is empty|only blank lines"):
        read("csv", csv(""), mode="max")
    with pytest.raises(InvalidTableError, match="Expected hyperparameters that vary; found lr"):
        read("csv", csv("task,lr,score\na,0.1,0.5\na,0.1,0.6\n"), mode="max")


def test_a_frame_is_read_as_its_csv_is(csv, read):
    text = "task,lr,score\na,0.1,0.5\na,0.2,0.6\n"
    assert read("csv", pd.read_csv(csv(text)), mode="max").frame.equals(read("csv", csv(text), mode="max").frame)


def test_constants_timestamps_and_ids_are_named(csv, read):
    text = "task,lr,momentum,started_at,experiment_id,checkpoint,name,random_state,score\n" + "".join(
        f"a,{0.1 * i},0.9,2026-01-0{i} 10:00:00,{i},/ckpt/{i},run {i},{i},0.{i}\n" for i in range(1, 7)
    )
    assert read("csv", csv(text), mode="max").left_out == {
        "momentum": "constant: 0.9",
        "started_at": "a timestamp",
        "experiment_id": "an id",
        "checkpoint": "a path",
        "name": "an id: a text of its own in every trial",
        "random_state": "a seed",
    }


def test_a_table_of_ax_is_known(csv, read, spaces):
    text = (
        "trial_index,arm_name,trial_status,generation_node,accuracy,lr,width\n0,0_0,COMPLETED,Sobol,0.5,0.1,8\n"
        "1,1_0,COMPLETED,Sobol,0.6,0.01,16\n2,2_0,FAILED,BoTorch,,0.2,4\n3,3_0,EARLY_STOPPED,BoTorch,0.1,0.3,4\n"
        "4,4_0,CANDIDATE,BoTorch,,0.5,4\n"
    )
    found = read("csv", csv(text), mode="max", task="name:iris")
    assert found.metric == "accuracy"
    assert found.kept == {"ok": 2, "failed": 1, "stopped": 1}
    assert found.dropped == {"candidate: not finished": 1}
    assert set(spaces(found)) == {"lr", "width"}


def test_json_lines_excel_and_packed_tables_are_read_too(tmp_path, csv, read):
    frame = pd.read_csv(csv("task,lr,opt,score\na,0.1,None,0.5\na,0.2,sgd,0.6\nb,0.3,sgd,0.7\n"), keep_default_na=False)
    expected = read("csv", csv("task,lr,opt,score\na,0.1,None,0.5\na,0.2,sgd,0.6\nb,0.3,sgd,0.7\n"), mode="max")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.xlsx", "t.csv.gz", "t.parquet"):
        assert read("csv", tmp_path / name, mode="max").frame.equals(expected.frame), name


def test_decimal_commas_are_read_where_the_separator_is_a_semicolon(csv, read):
    found = read("csv", csv("task;lr;opt;score\na;0,1;x,y;0,5\na;1e-3;z;0,6\nb;0,3;z;7\n"), mode="max").frame
    assert found["performance"].tolist() == [0.5, 0.6, 7.0]
    assert found["hp_lr"].tolist() == [0.1, 0.001, 0.3]
    assert found["hp_opt"].tolist() == ["x,y", "z", "z"]


def test_codes_that_differ_in_zeros_alone_are_choices(csv, read, spaces):
    found = read("csv", csv("task,code,lr,score\na,01,0.1,0.5\na,1,0.2,0.6\na,001,0.3,0.7\n"), mode="max")
    assert spaces(found)["code"]["choices"] == [1, "001", "01"]
    assert found.frame["hp_code"].astype(str).nunique() == 3
    assert found.left_out == {}


HAND = ((0.1, "sgd", 0.5), (0.01, "adam", 0.75), (0.001, "sgd", 0.6), (0.05, "adam", 0.7))


def by_hand(names, line, more=""):
    return names + "\n" + "".join(line(i, *row) + "\n" for i, row in enumerate(HAND)) + more


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_the_index_of_a_saved_table_is_no_hyperparameter(csv, read, spaces, name):
    found = read(
        "csv",
        csv(by_hand(f"{name},lr,opt,score", lambda i, *row: ",".join(map(str, (i, *row))))),
        mode="max",
        task="name:iris",
    )
    assert set(spaces(found)) == {"lr", "opt"}
    assert "the index of a saved table" in found.left_out[name or "Unnamed: 0"]


def test_usual_names_are_known_in_capital_letters_too(csv, read, spaces):
    text = by_hand(
        " Run ID,LR,Optimizer,Score,Status,Duration",
        lambda i, lr, opt, score: f"{i},{lr},{opt},{score},{'Failed' if i == 1 else 'Completed'},{i}m 3s",
    )
    found = read("csv", csv(text), mode="max", task="name:iris")
    assert set(spaces(found)) == {"LR", "Optimizer"}
    assert found.frame["status"].tolist() == ["ok", "failed", "ok", "ok"]
    assert found.frame["duration_s"].tolist() == [3, 63, 123, 183]
    lines = [f"{trial},{trial / 10},{epoch},{trial + epoch / 10}" for trial in range(3) for epoch in range(4)]
    curves = read("csv", csv("Trial,lr,Epoch,Score\n" + "\n".join(lines)), mode="max", task="name:iris")
    assert curves.frame["performance"].tolist() == [0.3, 1.3, 2.3]


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("status", ("fertig", "fehlgeschlagen"), "Unknown status"),
        ("Status", ("1", "0"), "Unknown status"),
        (
            "success",
            ("True", "False"),
            "'success' .'False', 'True'. says in another way which trials failed",
        ),
        ("exit_code", ("0", "137"), "'exit_code' .'0', '137'. says"),
    ],
)
def test_failures_in_words_of_ones_own_are_asked_for(csv, read, name, values, match):
    text = by_hand(f"lr,opt,score,{name}", lambda i, *row: ",".join(map(str, (*row, values[i == 1]))))
    with pytest.raises(InvalidTableError, match=match):
        read("csv", csv(text), mode="max", task="name:iris")


@pytest.mark.parametrize("last", ["Mean,,,0.6375", "Total,,,"])
def test_a_row_of_totals_is_no_trial(csv, read, spaces, last):
    text = by_hand("trial,lr,opt,score", lambda i, *row: ",".join(map(str, (f"run{i}", *row))), last + "\n")
    found = read("csv", csv(text), mode="max", task="name:iris")
    assert len(found.frame) == len(HAND)
    assert found.dropped == {"a row of totals": 1}
    assert spaces(found)["opt"]["choices"] == ["adam", "sgd"]


def test_a_last_trial_whose_choice_is_called_mean_is_kept(csv, read):
    text = "lr,pooling,score\n0.1,max,0.5\n0.01,max,0.75\n0.001,max,0.6\n0.05,mean,0.9\n"
    assert len(read("csv", csv(text), mode="max", task="name:iris").frame) == 4


@pytest.mark.parametrize("name", ["fold", "cv_fold", "Repeat"])
def test_folds_are_no_hyperparameter(csv, read, spaces, name):
    lines = [f"{lr},{fold},{lr + fold / 10}" for lr in (0.1, 0.2, 0.3) for fold in range(3)]
    found = read("csv", csv(f"lr,{name},score\n" + "\n".join(lines)), mode="max", task="name:iris")
    assert set(spaces(found)) == {"lr"}
    assert found.left_out == {name: "a fold or repetition"}


def test_one_line_a_round_is_a_learning_curve(csv, read):
    lines = [f"{trial},{trial / 10},{step},{trial + step / 10}" for trial in range(3) for step in range(4)]
    found = read("csv", csv("trial,lr,round,score\n" + "\n".join(lines)), mode="max", task="name:iris")
    assert found.frame["performance"].tolist() == [0.3, 1.3, 2.3]


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m 3s", 63), ("90s", 90), ("PT1M30S", 90), ("2h", 7200), ("1d 1h", 90_000)]
)
def test_durations_in_words_are_seconds(csv, read, text, seconds):
    content = by_hand("lr,opt,score,duration", lambda i, *row: ",".join(map(str, (*row, text))))
    assert set(read("csv", csv(content), mode="max", task="name:iris").frame["duration_s"]) == {seconds}
