"""Callbacks that report each epoch of a training to a learner, which stops what will not win.

`report` is what the training function of `learner_from_function` is given. It raises `Stop` where the training is to
end; the trainers let it pass. Each callback is imported with its trainer when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaflow_hpo.integrations.callbacks.keras import KerasReport
    from metaflow_hpo.integrations.callbacks.lightning import LightningReport
    from metaflow_hpo.integrations.callbacks.transformers import TransformersReport

__all__ = ["KerasReport", "LightningReport", "TransformersReport"]


def __getattr__(name: str) -> Any:
    """Import a callback when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"{__name__}.{name.removesuffix('Report').lower()}"), name)
