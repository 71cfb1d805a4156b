"""Predictions of classes as a person reads them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def show_classes(
    logits: NDArray[np.floating], class_names: Sequence[str], index: pd.Index | None = None
) -> pd.DataFrame:
    """Return `prediction`, the name of the likeliest class, and `probability_<class>` for each class.

    Args:
        logits: `(n, classes)`.
        class_names: By number.
        index: Of the n rows; their numbers unless given.
    """
    from scipy.special import softmax

    probabilities = softmax(logits.astype(np.float64), axis=1)
    names = np.asarray(class_names, dtype=object)[probabilities.argmax(axis=1)]
    shares = {f"probability_{name}": probabilities[:, c] for c, name in enumerate(class_names)}
    frame = pd.DataFrame({"prediction": pd.Series(names, dtype="str"), **shares})
    return frame if index is None else frame.set_axis(index)
