"""A handle on one MLflow run: what a step may record there.

A value that is not finite is left out and named in a tag, as MLflow draws it as a number.
"""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.files import neutralise, write_frame
from metaflow_hpo.adapters.secrets import hide_passwords
from metaflow_hpo.errors import MetaflowHPOError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

_BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # what one call of MLflow's REST interface takes
_NOT_FINITE_TAG = "metrics.not_finite"


@dataclass(frozen=True)
class Run:
    """A handle on one MLflow run.

    Attributes:
        run_id: MLflow's name of the run.
        client: The client of the tracking server that holds it.
    """

    run_id: str
    client: "MlflowClient"

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Record metrics; None, NaN and infinite ones are left out and named in the tag `metrics.not_finite`."""
        from mlflow.entities import Metric

        finite = {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}
        now = _now_ms()
        self._log_batches("metrics", [Metric(name, value, now, step or 0) for name, value in finite.items()])
        self._note_not_finite(sorted(set(metrics) - set(finite)))

    def log_curve(self, name: str, values: Sequence[float]) -> None:
        """Record a curve `(E,)` as one metric, at steps 0 to E - 1; values that are not finite leave a hole."""
        from mlflow.entities import Metric

        now = _now_ms()
        points = [Metric(name, float(value), now, step) for step, value in enumerate(values) if math.isfinite(value)]
        self._log_batches("metrics", points)
        self._note_not_finite([name] if len(points) < len(values) else [])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings, once and for all; those that a first attempt recorded may be given again.

        Raises:
            MetaflowHPOError: If one was recorded with another value.
        """
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        changed = {
            name: (known[name], str(value))
            for name, value in params.items()
            if known.get(name, str(value)) != str(value)
        }
        if changed:
            raise MetaflowHPOError(
                f"The MLflow run {self.run_id} was recorded with other settings (recorded, now): {changed}. "
                "Use other key tags for what is not a repetition of that run, or delete it in MLflow."
            )
        self._log_batches("params", [Param(name, str(value)) for name, value in params.items() if name not in known])

    def log_table(self, frame: pd.DataFrame, path: str, beside: Mapping[str, bytes] | None = None) -> None:
        """Store a table as `<path>.csv` for people and `<path>.parquet` for programs, and other files beside it."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as temporary:
            neutralise(frame).to_csv(Path(temporary, f"{name}.csv"), index=False)
            write_frame(Path(temporary, f"{name}.parquet"), frame)
            for other, content in (beside or {}).items():
                Path(temporary, other).write_bytes(content)
            self.log_folder(Path(temporary), folder)

    def rename(self, name: str) -> None:
        """Give the run another name in the list of runs."""
        self.client.update_run(self.run_id, name=name)

    def log_figure(self, figure: "Figure", path: str) -> None:
        """Store a matplotlib figure; the suffix of `path` gives the format (`plots/regret.png`)."""
        self.client.log_figure(self.run_id, figure, path)

    def log_file(self, file: Path, folder: str = "") -> None:
        """Store a file under its own name in the artifact folder `folder`."""
        self.client.log_artifact(self.run_id, str(file), folder or None)

    def log_folder(self, source: Path, folder: str = "") -> None:
        """Store the content of a folder in the artifact folder `folder`."""
        self.client.log_artifacts(self.run_id, str(source), folder or None)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; each replaces what it held. The password of an address is hidden."""
        from mlflow.entities import RunTag

        self._log_batches("tags", [RunTag(name, hide_passwords(str(value))) for name, value in tags.items()])

    def _log_batches(self, kind: str, items: Sequence[Any]) -> None:
        for start in range(0, len(items), _BATCH[kind]):
            batch: dict[str, Any] = {kind: items[start : start + _BATCH[kind]]}
            self.client.log_batch(self.run_id, **batch)

    def _note_not_finite(self, names: Sequence[str]) -> None:
        if names:
            noted = self.client.get_run(self.run_id).data.tags.get(_NOT_FINITE_TAG, "")
            self.set_tags(
                {_NOT_FINITE_TAG: ", ".join(dict.fromkeys([*filter(None, noted.split(", ")), *names]))[:5000]}
            )


def _now_ms() -> int:
    return int(time.time() * 1000)
