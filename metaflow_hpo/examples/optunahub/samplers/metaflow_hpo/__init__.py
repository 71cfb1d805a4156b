"""The package that OptunaHub's registry takes: `optunahub.load_module("samplers/metaflow_hpo").MetaSampler`."""

from metaflow_hpo.integrations.optuna import MetaSampler

__all__ = ["MetaSampler"]
