"""SMAC 2: `runhistory.json`, with the ranges of the `configspace.json` beside it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.past_trials.folders import find_experiments, read_json_file
from metaflow_hpo.adapters.past_trials.source import Found, PastTrial, Status, Wanted
from metaflow_hpo.adapters.past_trials.spaces import make_choices, make_range
from metaflow_hpo.adapters.past_trials.values import is_finite, plain, to_number
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.hyperparameter import Categorical, Condition, Hyperparameter

_FILE = "runhistory.json"
_STATUSES: Mapping[int, tuple[Status | None, str]] = {
    0: (None, "running: not finished"),
    1: ("ok", ""),
    2: ("failed", "crashed"),
    3: ("failed", "timeout"),
    4: ("failed", "out of memory"),
}


class SmacSource:
    """A run history is a task, named by its folder; a cost is minimised always; seeds are repetitions."""

    name = "smac"

    def knows_file(self, path: Path) -> bool:
        """Tell a run history by its name, also in a folder."""
        return (path / _FILE).is_file() if path.is_dir() else path.name.endswith(_FILE)

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read a run history, or all those in a folder.

        Args:
            address: `runhistory.json`, its folder, or a folder of such folders (SMAC's `output_directory`).
            wanted: `metric` is one of several objectives, by number from 0; `task` is `experiment` (the default: the
                folder) or `instance`.
        """
        found = find_experiments(address, self.knows_file, f"SMAC's {_FILE}", wanted)
        trials: list[PastTrial] = []
        known: list[list[Hyperparameter]] = []
        dropped: Counter[str] = Counter()
        for path in found.values():
            file = path / _FILE if path.is_dir() else path
            made, left = _read_history(file, wanted)
            trials += made
            dropped.update(left)
            space = file.with_name("configspace.json")
            if space.is_file():
                known.append(_read_space(read_json_file(space)))
        return Found(
            trials,
            "cost" if wanted.metric is None or wanted.metric.isdigit() else wanted.metric,
            "min",
            "experiment",
            known,
            len(known) == len(found),
            dropped,
            fidelity_unit="budget",
        )


def _read_history(file: Path, wanted: Wanted) -> tuple[list[PastTrial], Counter[str]]:
    content = read_json_file(file)
    if not isinstance(content, dict) or not {"data", "configs"} <= set(content):
        raise InvalidTableError(f"Expected data and configs in {file}, as SMAC 2 writes them. Give its {_FILE}.")
    dropped: Counter[str] = Counter()
    grouped: dict[tuple[str, Any, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for record in map(_as_record, content["data"]):
        grouped[(str(record["config_id"]), record.get("budget"), record.get("instance"))].append(record)
    trials = []
    for (config_id, budget, instance), records in grouped.items():
        for record in records:
            status, reason = _STATUSES.get(int(record["status"]), (None, f"status {record['status']}"))
            if status is None:
                dropped[reason] += 1
                continue
            cost = record["cost"]
            value = to_number(cost[int(wanted.metric or 0)] if isinstance(cost, list) else cost)
            trials.append(
                PastTrial(
                    configuration={k: plain(v) for k, v in content["configs"][config_id].items()},
                    value=value if is_finite(value) else float("nan"),
                    status=status,
                    reason=reason,
                    duration_s=to_number(record.get("time")),
                    fidelity=to_number(budget),
                    labels={
                        "experiment": file.resolve().parent.name,
                        **({} if instance is None else {"instance": instance}),
                    },
                )
            )
    return trials, dropped


def _as_record(record: Any) -> Mapping[str, Any]:
    """Return one run by names: before SMAC 2.1 it was a list."""
    if isinstance(record, Mapping):
        return record
    names = ("config_id", "instance", "seed", "budget", "cost", "time", "status")
    return dict(zip(names, record, strict=False))


def _read_space(content: Mapping[str, Any]) -> list[Hyperparameter]:
    """Return the hyperparameters of a ConfigSpace as JSON, with conditions on one choice of a parent."""
    made: dict[str, Hyperparameter] = {}
    conditions = {c["child"]: c for c in content.get("conditions", []) if c.get("parent")}
    for item in content["hyperparameters"]:
        name, kind = item["name"], item["type"]
        if kind in {"categorical", "ordinal"}:
            choices: Sequence[Any] = item.get("choices") or item.get("sequence") or ()
            made[name] = make_choices(name, choices, default=item.get("default_value", item.get("default")))
        elif kind in {"uniform_float", "uniform_int", "normal_float", "normal_int", "beta_float", "beta_int"}:
            to = int if kind.endswith("int") else float
            default = item.get("default_value", item.get("default"))
            made[name] = make_range(
                name, to(item["lower"]), to(item["upper"]), log=bool(item.get("log")), default=default
            )
    for name, condition in conditions.items():
        parent = made.get(condition["parent"])
        values = condition.get("values", [condition["value"]] if "value" in condition else [])
        if name in made and isinstance(parent, Categorical) and values:
            hp = made[name]
            made[name] = type(hp)(**{**hp.__dict__, "condition": Condition(parent.name, tuple(values))})
    return list(made.values())
