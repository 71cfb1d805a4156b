import json

import pytest

from metaflow_hpo.errors import InvalidTableError

SPACE = {
    "name": None,
    "hyperparameters": [
        {"type": "uniform_float", "name": "C", "lower": 0.001, "upper": 1000.0, "default_value": 1.0, "log": True},
        {
            "type": "categorical",
            "name": "kernel",
            "choices": ["linear", "rbf"],
            "default_value": "rbf",
            "weights": None,
        },
        {"type": "uniform_int", "name": "degree", "lower": 1, "upper": 5, "default_value": 3, "log": False},
        {"type": "constant", "name": "tol", "value": 0.1},
    ],
    "conditions": [{"type": "EQ", "child": "degree", "parent": "kernel", "value": "linear"}],
    "forbiddens": [],
    "format_version": 0.4,
}
CONFIGS = {
    "1": {"C": 1.0, "kernel": "rbf", "tol": 0.1},
    "2": {"C": 10.0, "kernel": "linear", "degree": 2, "tol": 0.1},
    "3": {"C": 100.0, "kernel": "rbf", "tol": 0.1},
    "4": {"C": 0.1, "kernel": "rbf", "tol": 0.1},
    "5": {"C": 0.2, "kernel": "rbf", "tol": 0.1},
}


def line(config_id, status=1, cost=0.5, seed=0, budget=None):
    return {
        "config_id": config_id, "instance": None, "seed": seed, "budget": budget, "cost": cost, "time": 2.0,
        "cpu_time": 1.9, "status": status, "starttime": 1.0, "endtime": 3.0, "additional_info": {},
    }  # fmt: skip


def write(folder, data, space=SPACE):
    folder.mkdir(parents=True)
    content = {"stats": {"submitted": 5, "finished": 5, "running": 0}, "data": data, "configs": CONFIGS}
    (folder / "runhistory.json").write_text(json.dumps(content, indent=2))
    if space is not None:
        (folder / "configspace.json").write_text(json.dumps(space))


def test_costs_are_minimised_seeds_repeat_and_statuses_are_known(tmp_path, read, spaces):
    data = [line(1), line(1, cost=0.6, seed=1), line(2, 2), line(3, 3), line(4, 4), line(5, 0)]
    write(tmp_path / "iris", data)
    found = read("smac", tmp_path / "iris" / "runhistory.json")
    assert found.direction == "min"
    assert found.kept == {"ok": 2, "failed": 3}
    assert found.dropped == {"running: not finished": 1}
    assert found.frame["reason"].tolist() == ["", "", "crashed", "timeout", "out of memory"]
    assert found.frame["performance"].tolist()[:2] == [0.5, 0.6]
    space = spaces(found)
    assert (space["C"]["low"], space["C"]["high"], space["C"]["log"]) == (0.001, 1000.0, True)
    assert space["degree"]["condition"] == {"parent": "kernel", "values": ["linear"]}
    assert found.left_out == {"tol": "constant: 0.1"}
    assert found.frame["duration_s"].eq(2.0).all()


def test_folders_are_tasks_and_budgets_are_fidelities(tmp_path, read):
    for name in ("iris", "wine"):
        write(tmp_path / "smac3_output" / name, [line(i, budget=b) for i in (1, 2, 3) for b in (1.0, 9.0)])
    frame = read("smac", tmp_path / "smac3_output").frame
    assert frame["task_id"].value_counts().to_dict() == {"iris": 6, "wine": 6}
    assert frame["fidelity_budget"].tolist() == [1.0, 9.0] * 6


def test_several_objectives_are_chosen_by_number_and_ranges_are_inferred_where_no_space_is_left(tmp_path, read, spaces):
    write(tmp_path / "iris", [line(i, cost=[0.1 * i, 5.0]) for i in (1, 2, 3, 4)], space=None)
    found = read("smac", tmp_path / "iris", metric="1")
    assert found.frame["performance"].eq(5.0).all()
    assert (spaces(found)["C"]["low"], spaces(found)["C"]["high"]) == (0.1, 100.0)


def test_another_json_is_refused(tmp_path, read):
    (tmp_path / "runhistory.json").write_text('{"a": 1}')
    with pytest.raises(InvalidTableError, match="Expected data and configs"):
        read("smac", tmp_path)
    with pytest.raises(InvalidTableError, match="there is no"):
        read("smac", tmp_path / "none")
