"""Reports each epoch of a training of Keras."""

from collections.abc import Callable, Mapping

from metaflow_hpo.errors import MissingExtraError

try:
    import keras
except ImportError as missing:
    raise MissingExtraError("keras", "keras") from missing


class KerasReport(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports a validation metric after each epoch: `model.fit(..., callbacks=[KerasReport(report, "val_accuracy")])`.

    Args:
        report: What the training function of `learner_from_function` is given. It raises `Stop` where the training is
            to end; `fit` lets it pass.
        monitor: Name of a metric in the logs of an epoch, in the units of the learner's.
    """

    def __init__(self, report: Callable[[int, float], None], monitor: str) -> None:
        super().__init__()
        self._report = report
        self._monitor = monitor

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Report.

        Raises:
            ValueError: If the metric was not measured.
        """
        found = logs or {}
        if self._monitor not in found:
            raise ValueError(
                f"Expected the metric {self._monitor!r}; found {', '.join(sorted(found)) or 'none'}. Name it in "
                "compile(metrics=...), and give fit validation data."
            )
        self._report(epoch + 1, float(found[self._monitor]))
