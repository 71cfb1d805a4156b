"""Keras Tuner: the folder of a project with one `trial_<id>/trial.json` a trial."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.past_trials.folders import EXPERIMENT, find_experiments, read_json_file
from metaflow_hpo.adapters.past_trials.source import Direction, Found, PastTrial, Wanted, choose_metric
from metaflow_hpo.adapters.past_trials.spaces import make_choices, make_range
from metaflow_hpo.adapters.past_trials.values import pick, plain, to_number, to_status
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.hyperparameter import Categorical, Condition, Hyperparameter

_OF_HYPERBAND = "tuner/"
_EPOCHS = "tuner/epochs"


class KerasTunerSource:
    """Projects are tasks; ranges and conditions are Keras Tuner's own; the best epoch counts, as in its score."""

    name = "keras-tuner"

    def knows_file(self, path: Path) -> bool:
        """Tell the folder of a project by its trials."""
        return path.is_dir() and any(path.glob("trial_*/trial.json"))

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read a project, or all those in a folder.

        Args:
            address: Folder: `directory/project_name`, or `directory`.
            wanted: `task` is `experiment` (the default: the project's name); `at` is `best` (the default), `last` or a
                step.
        """
        folders = find_experiments(address, self.knows_file, "a project of Keras Tuner", wanted)
        records = [
            (name, read_json_file(path))
            for name, folder in folders.items()
            for path in sorted(folder.glob("trial_*/trial.json"))
        ]
        metrics = {m: v for _, record in records for m, v in record["metrics"]["metrics"].items()}
        wanted_metric = wanted.metric or _objective(folders.values())
        told: Mapping[str, Direction] = {m: v["direction"] for m, v in metrics.items() if v.get("direction")}
        chosen = Wanted(metric=wanted_metric, mode=wanted.mode)
        metric, direction = choose_metric(chosen, list(metrics), told.get(wanted_metric or next(iter(metrics), "")))
        dropped: Counter[str] = Counter()
        trials, known = [], []
        for name, record in records:
            known.append(_read_space(record["hyperparameters"]["space"]))
            status = to_status(record["status"])
            if status is None:
                dropped[f"{record['status'].lower()}: not finished"] += 1
                continue
            trials.append(_read_trial(name, record, metric, direction, wanted.at or "best"))
        fidelities = {trial.fidelity for trial in trials}
        epochs = ", ".join(f"{one:g}" for one in sorted(f for f in fidelities if f is not None))
        notes = [f"Trials of Hyperband with {epochs} epochs."] if len(fidelities) > 1 else []
        return Found(trials, metric, direction, EXPERIMENT, known, True, dropped, notes=notes, fidelity_unit="epochs")


def _objective(folders: Any) -> str | None:
    """Return the metric that the oracle asks for, where it is written down."""
    for folder in folders:
        path = folder / "oracle.json"
        objective = read_json_file(path).get("objective") if path.is_file() else None
        if isinstance(objective, Mapping) and objective.get("name"):
            return str(objective["name"])
    return None


def _read_trial(name: str, record: Mapping[str, Any], metric: str, direction: Direction, at: str) -> PastTrial:
    status = to_status(record["status"]) or "failed"
    found = record["metrics"]["metrics"].get(metric, {}).get("observations", [])
    points = [(float(point["step"]), number) for point in found if (number := _mean(point["value"])) is not None]
    value, curve = pick(points, at, direction)
    values = record["hyperparameters"]["values"]
    active = _active_names(record["hyperparameters"]["space"], values)
    return PastTrial(
        configuration={k: plain(values[k]) for k in active if not k.startswith(_OF_HYPERBAND)},
        value=value,
        status=status,
        reason=""
        if status == "ok"
        else str(record.get("message") or record["status"].lower()).strip().splitlines()[-1],
        curve=curve if len(points) > 1 else (),
        fidelity=to_number(values.get(_EPOCHS)),
        labels={EXPERIMENT: name, **{f"param:{k}": v for k, v in values.items()}},
    )


def _mean(values: Any) -> float | None:
    """Return the mean over executions of one configuration."""
    numbers = [n for v in (values if isinstance(values, list) else [values]) if (n := to_number(v)) is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _read_space(items: Sequence[Mapping[str, Any]]) -> list[Hyperparameter]:
    made: dict[str, Hyperparameter] = {}
    for item in items:
        config = item["config"]
        name, default = config["name"], config.get("default")
        if name in made or name.startswith(_OF_HYPERBAND) or item["class_name"] == "Fixed":
            continue
        match item["class_name"]:
            case "Choice":
                hp = make_choices(name, config["values"], default=default)
            case "Boolean":
                hp = make_choices(name, [False, True], default=default)
            case "Int" | "Float" as kind:
                to = int if kind == "Int" else float
                low, high = to(config["min_value"]), to(config["max_value"])
                log = str(config.get("sampling", "linear")).lower() in {"log", "reverse_log"}
                hp = make_range(name, low, high, log=log, default=default)
            case other:
                raise InvalidTableError(f"Unknown kind {other!r} of the hyperparameter {name!r} of Keras Tuner.")
        condition = _read_condition(config.get("conditions") or [], made)
        made[name] = type(hp)(**{**hp.__dict__, "condition": condition})
    return list(made.values())


def _read_condition(conditions: Sequence[Mapping[str, Any]], made: Mapping[str, Hyperparameter]) -> Condition | None:
    """Return the innermost of nested conditions: its parent is itself active only where the outer ones hold."""
    for condition in reversed(conditions):
        config = condition["config"]
        parent = made.get(config["name"])
        values = tuple(config["values"])
        if isinstance(parent, Categorical):
            return Condition(parent.name, tuple(v for v in values if v in parent.choices) or values)
    return None


def _active_names(items: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> list[str]:
    """Return the hyperparameters that a trial used: Keras Tuner also records values of those that it did not."""
    active = []
    for item in items:
        config = item["config"]
        holds = all(values.get(c["config"]["name"]) in c["config"]["values"] for c in config.get("conditions") or [])
        if holds and config["name"] in values and item["class_name"] != "Fixed":
            active.append(config["name"])
    return list(dict.fromkeys(active))
