"""What the first recommendation would have brought on past tasks: how sure it must be to come before the default."""

from dataclasses import replace

import numpy as np

from metaflow_hpo.evaluate.calibration import decide_forest_shares
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.tuning import TuningEvidence, measure_first

MIN_FAMILIES = 3


def learn_tuning(recommender: Recommender) -> TuningEvidence | None:
    """Ask for each past task who knows neither its family nor a network that was trained on it.

    Args:
        recommender: The recommender, whose past tasks are asked about.

    Returns:
        The evidence; None where the default is nobody's, or there are too few families.
    """
    past = recommender.past
    if not recommender.settings.default_first or len(set(past.families)) < MIN_FAMILIES:
        return None
    free = replace(recommender, settings=replace(recommender.settings, default_first=False), tuning=None)
    gains, families = recommender.gains, np.array(past.families)
    shares = decide_forest_shares(recommender)
    errors: dict[str, float] = {}
    gain: dict[str, float] = {}
    for family in dict.fromkeys(past.families):
        others = free.without(family)
        if family in shares:
            others = replace(others, forest=others.grow_forest(shares[family]))
        for t in np.flatnonzero(families == family):
            row = past.meta_features[t]
            _, fallback = others.falls_back(row)
            first, errors[past.task_ids[t]] = measure_first(others.begin(row, is_novel=fallback), others.gains)
            unseen = gains.unseen[t, first]
            gain[past.task_ids[t]] = float(unseen if np.isfinite(unseen) else gains.validated[t, first])
    return TuningEvidence(errors, gain)
