"""The Lightning modules: loss, metrics and optimiser of the surrogate's two networks."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from metaflow_hpo.surrogate.network import EndsNetwork, SurrogateNetwork


class SurrogateModule(pl.LightningModule):
    """Trains all members of a `SurrogateNetwork` at once, but for its `ends`.

    The loss of a member is the sum of a squared error on the rank score, and a Gaussian negative log-likelihood on the
    position between worst and best.
    """

    def __init__(self, network: SurrogateNetwork, *, learning_rate: float = 3e-3, weight_decay: float = 3e-3) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def _losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        _, meta_features, encoded, score, position = batch
        s, p, log_spread = self.network(meta_features, encoded)
        return {"score": ((s - score) ** 2).mean(), "position": _gaussian_loss(p - position, log_spread)}

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        """Return the summed loss of one mini-batch of rows."""
        losses = self._losses(batch)
        total = losses["score"] + 0.3 * losses["position"]
        self.log("train_loss", total, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return total

    def validation_step(self, batch: tuple[Tensor, ...], _: int) -> None:
        """Log the loss on meta-validation families and the rank correlation within their tasks."""
        losses = self._losses(batch)
        total = losses["score"] + 0.3 * losses["position"].clamp(max=5.0)
        self.log("validation_loss", total, batch_size=len(batch[0]))
        self.log("validation_score_mse", losses["score"], batch_size=len(batch[0]))
        task, meta_features, encoded, score = batch[:4]
        predicted = self.network(meta_features, encoded)[0].mean(dim=0)
        self.log("validation_rank_correlation", _mean_correlation(task, predicted, score), batch_size=len(batch[0]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a cosine schedule over the epochs."""
        return _make_optimizer(self, self.learning_rate, self.weight_decay)


class EndsModule(pl.LightningModule):
    """Trains all members of an `EndsNetwork` at once, by a Gaussian negative log-likelihood of worst and best."""

    def __init__(self, network: EndsNetwork, *, learning_rate: float = 1e-2, weight_decay: float = 3e-2) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def _loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        meta_features, anchors, ends = batch
        found = self.network(meta_features, anchors)  # (S, B, 4)
        return _gaussian_loss(found[..., :2] - ends, found[..., 2:])

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        """Return the loss of one mini-batch of tasks."""
        return self._loss(batch)

    def validation_step(self, batch: tuple[Tensor, ...], _: int) -> None:
        """Log the loss on meta-validation families."""
        self.log("validation_ends_loss", self._loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a cosine schedule over the epochs."""
        return _make_optimizer(self, self.learning_rate, self.weight_decay)


def _gaussian_loss(error: Tensor, log_spread: Tensor) -> Tensor:
    return (0.5 * (error / log_spread.exp()) ** 2 + log_spread).mean()


def _make_optimizer(
    module: pl.LightningModule, learning_rate: float, weight_decay: float
) -> OptimizerLRSchedulerConfig:
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=module.trainer.max_epochs or 1)
    return OptimizerLRSchedulerConfig(optimizer=optimizer, lr_scheduler=schedule)


def _mean_correlation(task: Tensor, predicted: Tensor, score: Tensor) -> Tensor:
    """Mean over tasks of the Spearman correlation between predicted and true scores."""
    values = []
    for t in sorted(set(task.tolist())):
        rows = task == t
        ranks = torch.stack([_ranks(predicted[rows]), _ranks(score[rows])])
        if ranks.shape[1] > 2 and bool((ranks.std(dim=1) > 0).all()):
            values.append(torch.corrcoef(ranks)[0, 1])
    return torch.stack(values).mean() if values else torch.zeros((), device=predicted.device)


def _ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().float()
