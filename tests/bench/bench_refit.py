"""What it costs to learn one more task: the shipped knowledge as champion, one file, an incremental fit, a full one.

    python tests/bench/bench_refit.py --full --output bench_refit.json

The one thing to know: the champion is the shipped surrogate itself, registered as version 1 of an empty registry; all
else is what the pipeline does.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.datasets import make_classification

from metaflow_hpo.actions import collect, fit
from metaflow_hpo.actions.lineage import log_inputs
from metaflow_hpo.actions.pack import unpack
from metaflow_hpo.adapters.files import write_frame
from metaflow_hpo.adapters.knowledge import open_knowledge
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.task_files import write_task
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.settings import Settings


def open_shipped(data: Path) -> Pipeline:
    """Return a project that knows what ships, its surrogate the champion."""
    knowledge = open_knowledge()
    if knowledge is None:
        raise SystemExit("the package was built without knowledge")
    unpack(knowledge, data)
    settings = {"core_trials": 193, "random_trials": 0, "tpe_trials": 64, "repeat_every": 10, "accelerator": "cpu"}
    pipeline = Pipeline(Settings(data=data, **settings))
    folder = knowledge.recommender_folder("mlp")
    served = Recommender.load(folder)
    with pipeline.tracking.parent_run("surrogate", "shipped", {}) as run:
        log_inputs(pipeline, run)
        example = pd.DataFrame([served.past.meta_features[0]], columns=list(served.meta_feature_names))
        version = pipeline.registry.register_surrogate(folder, run_id=run.run_id, input_example=example)
    pipeline.registry.promote(version, "what ships")
    return pipeline


def land_task(pipeline: Pipeline, folder: Path) -> None:
    """Add one task to the catalogue without preparing the 189 others, of which no rows ship."""
    x, y = make_classification(n_samples=400, n_features=8, n_informative=4, flip_y=0.1, random_state=3)
    path = folder / "landed.csv"
    pd.DataFrame(x.round(5)).add_prefix("x").assign(y=y).to_csv(path, index=False)
    data, store = read_source(path), pipeline.store
    write_task(store.task_path(data.task.task_id), data)
    line = {**data.task.to_dict(), "notes": ""}
    table = pd.concat([store.read_catalogue(), pd.DataFrame([line])], ignore_index=True)
    write_frame(store.catalogue_path, table.sort_values("task_id", ignore_index=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also fit from scratch, for comparison (minutes)")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    report: dict[str, Any] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began, processor = time.monotonic(), time.process_time()
        result = work()
        report[name] = {"wall_s": time.monotonic() - began, "processor_s": time.process_time() - processor}
        return result

    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_bench_") as temporary:
        pipeline = timed("prepare", lambda: open_shipped(Path(temporary) / "data"))
        land_task(pipeline, Path(temporary))
        timed("search", lambda: collect.search_tasks(pipeline, ["landed"]))
        timed("describe", lambda: collect.describe_tasks(pipeline, ["landed"]))
        timed("join", lambda: collect.join_tasks(pipeline))
        warm = timed("refit", lambda: fit.fit(pipeline, incremental=True))
        report["refit"] |= {"start": warm["start_reason"], "metrics": warm["metrics"]}
        if chosen.full:
            full = timed("full_fit", lambda: fit.fit(pipeline))
            report["full_fit"] |= {"start": full["start_reason"], "metrics": full["metrics"]}
    print(json.dumps(report, indent=1))
    if chosen.output:
        chosen.output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
