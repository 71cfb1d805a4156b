"""How the recommender compares with simple ones on published tables of trials, leave-family-out, by table and source.

    python bench_tables.py FOLDER --output bench_tables.json        # a quarter of an hour on one core; resumes

FOLDER has a folder for each table, as they come: `table.parquet` (`task_id, family, hp_*, mf_*, performance`),
TaskSet's `taskset.parquet`, or LCBench's `model.onnx` where onnxruntime is installed; other folders are left out and
said. The tables do not ship. All run by the one replay of `metaflow-hpo benchmark`.

The one thing to know: tables come in two halves by a hash of their source (the repository that its README names), as
families do in `bench_closed_loop.py`; settings are chosen on `development` alone; `held-out` is what is reported.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import metaflow_hpo
from metaflow_hpo.collect.strategies.registry import RECOMMENDED
from metaflow_hpo.evaluate.benchmark import Plan, run_benchmark
from metaflow_hpo.history import History

RIVALS = ("default", "random", "mean_rank", "portfolio", "portfolio_ranks", "nearest_task", "meta_gp", "rgpe")
"""`default` is the middle of a space that was inferred: no rival that anyone would take."""
KS = (1, 3, 5, 10, 25)
SEEDS = 2
MAX_TASKS = 60
HALVES = ("development", "held-out")
MAX_RATIO, MAX_EXCESS = 1.10, 0.005
"""No table may have more regret than this share of the best rival's, and so much more."""
_REPOSITORY = re.compile(r"github ([\w.-]+/[\w.-]+)")
_SAME_SOURCE = {"lcbench": "slds-lmu/yahpo_data"}
"""Tables whose README names no repository although another table's does."""
_DECIDING = ("*.py", "recommender/**/*.py", "surrogate/splits.py", "collect/strategies/*.py", "evaluate/replay.py")
"""Files on which what is found depends."""


def source_of(folder: Path) -> str:
    """Return where a table came from: the first repository that its README names, or its own name."""
    readme = folder / "README.md"
    found = _REPOSITORY.search(readme.read_text()) if readme.is_file() else None
    return _SAME_SOURCE.get(folder.name, found.group(1) if found else folder.name)


def half_of(source: str) -> str:
    """Return the half that all tables of a source belong to."""
    return HALVES[int(hashlib.sha256(f"half{source}".encode()).hexdigest(), 16) % 2]


def find_tables(root: Path) -> Iterator[tuple[Path, Path]]:
    """Return the folder of each table and the file that holds its trials."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        names = ("table.parquet", "taskset.parquet", "model.onnx")
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is None:
            say(f"{folder.name}: none of {', '.join(names)}; left out.")
        else:
            yield folder, file


def read_history(file: Path) -> History | None:
    """Return the trials of a table; None where a package is missing that reads it."""
    if file.name == "taskset.parquet":
        from metaflow_hpo.adapters.past_trials.taskset import import_taskset

        return History.from_frame(import_taskset(file))
    if file.name == "model.onnx":
        from importlib.util import find_spec

        if find_spec("onnxruntime") is None:
            say(f"{file.parent.name}: needs onnxruntime (pip install 'metaflow-hpo[benchmark]'); left out.")
            return None
        from metaflow_hpo.adapters.past_trials.lcbench import import_lcbench

        return History.from_frame(import_lcbench(file.parent))
    return History.read(file)


def digest_code() -> str:
    """Return a digest of the code that decides."""
    root = Path(metaflow_hpo.__file__).parent
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _DECIDING for path in root.glob(pattern)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def judge_table(file: Path, names: tuple[str, ...], kept: Path, code: str, max_tasks: int) -> pd.DataFrame | None:
    """Return regrets of each (task, recommender, k); each recommender is run once a table and version of the code."""
    protocol = f"{KS}{SEEDS}{max_tasks}{code}".encode()
    key = hashlib.sha256(file.read_bytes() + protocol).hexdigest()[:12]
    history, parts = None, []
    for name in names:
        path = kept / f"{file.parent.name}-{name}-{key}.parquet"
        if not path.is_file():
            history = history or read_history(file)
            if history is None:
                return None
            found = run_benchmark(history, Plan(names=(name,), ks=KS, seeds=SEEDS, max_tasks=max_tasks)).per_task
            found.drop(columns=["performance", "test_performance"]).to_parquet(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        parts.append(pd.read_parquet(path))
    return pd.concat(parts, ignore_index=True)


def summarise(regrets: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the mean regret by table, by source (its tables alike) and by half (its tables alike)."""
    keys = ["half", "source", "table", "k"]
    table = regrets.pivot_table(index=keys, columns="recommender", values="regret")
    source = table.groupby(["half", "source", "k"]).mean()
    return {"table": table, "source": source, "half": table.groupby(["half", "k"]).mean()}


def find_excess(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines (table, k) on which `recommended` has clearly more regret than the best rival."""
    best = table.drop(columns=[RECOMMENDED, "default"], errors="ignore").min(axis=1)
    excess = table[RECOMMENDED] - (MAX_RATIO * best + MAX_EXCESS)
    return pd.DataFrame({"recommended": table[RECOMMENDED], "best": best})[excess > 0]


def say(text: str) -> None:
    """Tell a person."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run what is not kept yet, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds a folder for each table")
    parser.add_argument("--output", type=Path, help="JSON with all regrets")
    parser.add_argument("--kept", type=Path, default=Path(".bench_tables"), help="what was found already")
    parser.add_argument("--half", choices=(*HALVES, "both"), default="both")
    parser.add_argument("--names", nargs="+", default=[RECOMMENDED, *RIVALS], help="strategies, or module:attribute")
    parser.add_argument("--tasks", type=int, default=MAX_TASKS, help="tasks that are judged a table")
    asked = parser.parse_args()
    asked.kept.mkdir(parents=True, exist_ok=True)
    code, found = digest_code(), []
    for folder, file in find_tables(asked.folder):
        source = source_of(folder)
        if asked.half not in ("both", half_of(source)):
            continue
        say(f"{folder.name} ({source}, {half_of(source)})")
        regrets = judge_table(file, tuple(asked.names), asked.kept, code, asked.tasks)
        if regrets is not None:
            found.append(regrets.assign(table=folder.name, source=source, half=half_of(source)))
    if not found:
        raise SystemExit(f"Expected tables in folders of {asked.folder}; found none that can be read.")
    regrets = pd.concat(found, ignore_index=True)
    summary = summarise(regrets)
    order = [name for name in asked.names if name in summary["table"]]
    with pd.option_context("display.width", 200, "display.max_rows", 500, "display.float_format", "{:.4f}".format):
        for what, frame in summary.items():
            print(f"Mean regret by {what}\n{frame[order].to_string()}\n")
        if RECOMMENDED in order and len(order) > 1:
            excess = find_excess(summary["table"])
            print(
                f"More than {MAX_RATIO:.0%} of the best rival's and {MAX_EXCESS} on top: {len(excess)} lines\n{excess}"
            )
    if asked.output is not None:
        asked.output.write_text(json.dumps({"code": code, "regrets": regrets.to_dict("records")}))


if __name__ == "__main__":
    main()
