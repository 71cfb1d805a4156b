"""Reports each epoch of a training of Lightning."""

from collections.abc import Callable

from metaflow_hpo.errors import MissingExtraError

try:
    import pytorch_lightning as pl
except ImportError as missing:
    raise MissingExtraError("pytorch-lightning", "train") from missing


class LightningReport(pl.Callback):
    """Reports a validation metric after each epoch: `Trainer(callbacks=[LightningReport(report, "val_acc")])`.

    Args:
        report: What the training function of `learner_from_function` is given. It raises `Stop` where the training is
            to end; the trainer cleans up and lets it pass.
        monitor: Name of a logged metric, in the units of the learner's.
    """

    def __init__(self, report: Callable[[int, float], None], monitor: str) -> None:
        self._report = report
        self._monitor = monitor

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, on rank zero alone and not while Lightning checks that validation works.

        Raises:
            ValueError: If the metric was not logged.
        """
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        if self._monitor not in trainer.callback_metrics:
            found = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ValueError(f"Expected the logged metric {self._monitor!r}; found {found}. Log it in validation_step.")
        self._report(trainer.current_epoch + 1, float(trainer.callback_metrics[self._monitor]))
