"""Reports each epoch of a training of Transformers."""

from collections.abc import Callable, Mapping
from typing import Any

from metaflow_hpo.errors import MissingExtraError

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as missing:
    raise MissingExtraError("transformers", "transformers") from missing

_ROUNDING = 1e-6


class TransformersReport(TrainerCallback):  # type: ignore[misc]
    """Reports a metric after each epoch: `Trainer(..., callbacks=[TransformersReport(report, "eval_accuracy")])`.

    The trainer must evaluate at least once an epoch (`eval_strategy="epoch"`, say); what it measures between two epochs
    is not reported.

    Args:
        report: What the training function of `learner_from_function` is given. It raises `Stop` where the training is
            to end; `train` lets it pass.
        monitor: Name of an evaluated metric, `eval_` included, in the units of the learner's.
    """

    def __init__(self, report: Callable[[int, float], None], monitor: str) -> None:
        self._report = report
        self._monitor = monitor
        self._reported = 0

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report the first evaluation after each epoch, on rank zero alone.

        Raises:
            ValueError: If the metric was not measured.
        """
        epochs = int((state.epoch or 0.0) + _ROUNDING)
        if not state.is_world_process_zero or epochs <= self._reported:
            return
        found = metrics or {}
        if self._monitor not in found:
            raise ValueError(
                f"Expected the metric {self._monitor!r}; found {', '.join(sorted(found)) or 'none'}. Return it from "
                "compute_metrics; its name begins with eval_."
            )
        self._reported = epochs
        self._report(epochs, float(found[self._monitor]))
