"""Predictions of classes as a person reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def read_class_names(names: Any, *, is_regression: bool = False) -> tuple[str, ...]:
    """Return the names of classes as a file has them; none of a regression.

    Raises:
        ValueError: They are no different texts, or fewer than two.
    """
    found = tuple(names)
    if is_regression and not found:
        return ()
    if is_regression or len(found) < 2 or len(set(found)) < len(found) or not all(isinstance(n, str) for n in found):
        raise ValueError(f"the names of two classes or more were expected; found {names!r}")
    return found


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
