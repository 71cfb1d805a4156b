"""The Lightning module: loss, metrics and optimiser of the surrogate."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from metaflow_hpo.surrogate.network import SurrogateNetwork


class SurrogateModule(pl.LightningModule):
    """Trains all members of a `SurrogateNetwork` at once.

    The loss of a member is the sum of a squared error on the rank score, a Gaussian negative log-likelihood on the
    position between worst and best, and a Gaussian negative log-likelihood on worst and best themselves.
    """

    def __init__(self, network: SurrogateNetwork, *, learning_rate: float = 3e-3, weight_decay: float = 3e-3) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def _losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        _, meta_features, encoded, score, position, worst, best = batch
        s, p, log_spread, task = self.network(meta_features, encoded)
        spread = task[..., 2].clamp(-4.0, 1.0)
        ends = (task[..., 0] - worst) ** 2 + (task[..., 1] - best) ** 2  # (S, B)
        return {
            "score": ((s - score) ** 2).mean(),
            "position": (0.5 * ((p - position) / log_spread.exp()) ** 2 + log_spread).mean(),
            "task": (0.5 * ends * torch.exp(-2 * spread) + 2 * spread).mean(),
        }

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        """Return the summed loss of one mini-batch of rows."""
        losses = self._losses(batch)
        total = losses["score"] + 0.3 * losses["position"] + 0.1 * losses["task"]
        self.log("train_loss", total, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return total

    def validation_step(self, batch: tuple[Tensor, ...], _: int) -> None:
        """Log the loss on meta-validation families and the rank correlation within their tasks."""
        losses = self._losses(batch)
        total = losses["score"] + 0.3 * losses["position"].clamp(max=5.0) + 0.1 * losses["task"].clamp(max=5.0)
        self.log("validation_loss", total, batch_size=len(batch[0]))
        self.log("validation_score_mse", losses["score"], batch_size=len(batch[0]))
        task, meta_features, encoded, score = batch[:4]
        predicted = self.network(meta_features, encoded)[0].mean(dim=0)
        self.log("validation_rank_correlation", _mean_correlation(task, predicted, score), batch_size=len(batch[0]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a cosine schedule over the epochs."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        epochs = self.trainer.max_epochs or 1
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
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
