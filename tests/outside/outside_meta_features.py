"""A group of meta-features outside the package, for tasks of every modality."""

import math

from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup

SIZE_ON_DISK = MetaFeatureGroup(
    name="outline",
    version=2,
    features={"log_items": MetaFeature("log10 of 1 + the number of items", "size")},
    modalities=(),
    measure=lambda data: {"log_items": math.log10(1 + data.task.rows)},
)
