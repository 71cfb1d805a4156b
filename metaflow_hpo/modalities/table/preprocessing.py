"""Turn a table of numbers and strings into a float32 matrix, with everything learned from the training rows only.

The one thing to know: `fit` sees the rows that are trained on and nothing else; in cross-validation it is called once a
fold. Nothing depends on the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

FloatArray = NDArray[np.float32]

MAX_CATEGORIES = 20
"""Categories of a column that get an indicator of their own; the rest share "other"."""
MAX_WIDTH = 1000
"""Encoded columns above which fewer categories get their own indicator (down to one a column)."""
MISSING_FRACTION = 0.01
"""Fraction of missing values from which a numeric column gets a missing indicator."""
CLIP = 10.0
"""Standardised numbers are clipped to +-CLIP: one wild value must not blow a network up."""


@dataclass(frozen=True)
class _Numeric:
    """A numeric column: imputed by its median, divided by `unit`, standardised, clipped."""

    name: str
    median: float
    unit: float
    mean: float
    std: float
    flags_missing: bool

    def __post_init__(self) -> None:
        """What was read from a file may say anything."""
        if not np.isfinite([self.median, self.unit, self.mean, self.std]).all() or self.unit <= 0 or self.std < 0:
            raise ValueError(f"finite numbers, a unit above 0 and a spread from 0 on were expected; found {self}")
        _check_types(self.flags_missing, names=[self.name])

    @classmethod
    def fit(cls, name: str, values: NDArray[np.float64]) -> "_Numeric":
        finite = np.isfinite(values)
        present = values[finite]
        unit = float(np.abs(present).max(initial=0.0)) or 1.0  # first, so that squares of 1e300 stay finite
        median = float(np.median(np.sort(present) / unit)) if present.size else 0.0
        scaled = np.sort(np.where(finite, values / unit, median))  # sorted: sums do not depend on the row order
        mean, std = float(scaled.mean()), float(scaled.std())
        flags_missing = bool(np.mean(~finite) >= MISSING_FRACTION)
        return cls(name, median, unit, mean, std if std > 1e-12 else 0.0, flags_missing)

    @property
    def feature_names(self) -> list[str]:
        return [self.name, f"{self.name}=missing"] if self.flags_missing else [self.name]

    @property
    def is_truth(self) -> bool:
        """Whether all its values are 0 or 1: no others within that range vary as much."""
        return self.unit == 1 and 0 < self.mean < 1 and abs(self.std**2 - self.mean * (1 - self.mean)) < 1e-12

    def write(self, values: NDArray[np.float64], out: FloatArray) -> None:
        finite = np.isfinite(values)
        if self.std > 0:
            scaled = np.where(finite, values, 0.0) / self.unit
            out[:, 0] = np.clip((np.where(finite, scaled, self.median) - self.mean) / self.std, -CLIP, CLIP)
        if self.flags_missing:
            out[:, 1] = ~finite


@dataclass(frozen=True)
class _Categorical:
    """A column of strings: one indicator for each kept category, for the other ones and for a missing value.

    `has_other` and `has_missing` tell whether training rows had such values; where they had none, an unseen category
    or a missing value has no indicator set.
    """

    name: str
    kept: tuple[str, ...]
    has_other: bool
    has_missing: bool

    def __post_init__(self) -> None:
        """What was read from a file may say anything."""
        _check_types(self.has_other, self.has_missing, names=[self.name, *self.kept])

    @classmethod
    def fit(cls, name: str, categories: Sequence[str], has_missing: bool, cap: int) -> "_Categorical":
        return cls(name, tuple(categories[:cap]), len(categories) > cap, has_missing)

    @property
    def feature_names(self) -> list[str]:
        extra = [f"{self.name}=other"] * self.has_other + [f"{self.name}=missing"] * self.has_missing
        return [f"{self.name}={category}" for category in self.kept] + extra

    def write(self, values: pd.Series, out: FloatArray) -> None:
        missing = values.isna().to_numpy()
        codes = pd.Index(self.kept, dtype=object).get_indexer(pd.Index(values.astype(object)))
        if self.has_other:
            codes = np.where((codes < 0) & ~missing, len(self.kept), codes)
        codes = np.where(missing, out.shape[1] - 1 if self.has_missing else -1, codes)
        rows = np.flatnonzero(codes >= 0)
        out[rows, codes[rows]] = 1


@dataclass(frozen=True)
class Preprocessor:
    """What the training rows say about each column; made by `fit`.

    Attributes:
        columns: One encoder a column of the table, in its order.
    """

    columns: tuple[_Numeric | _Categorical, ...]

    @classmethod
    def fit(cls, features: pd.DataFrame) -> "Preprocessor":
        """Learn the encoding from training rows.

        Numeric columns: missing values become the median (with an indicator from 1 % of missing values on), then the
        column is standardised and clipped to +-10; a column that is constant here becomes 0. All others: indicators of
        the 20 most frequent categories (ties: in alphabetical order), of "other" and of a missing value. If that makes
        more than 1,000 columns, as few categories as are needed keep their indicator, but one a column at least.

        Args:
            features: Training rows, `(n, columns)`: numbers (NaN = missing) or strings (None = missing).
        """
        numeric = {c: _to_float(features[c]) for c in features.columns if is_numeric_dtype(features[c])}
        ranked = {c: _rank_categories(features[c]) for c in features.columns if c not in numeric}
        fitted: dict[str, _Numeric | _Categorical] = {c: _Numeric.fit(str(c), v) for c, v in numeric.items()}
        missing = {c: bool(features[c].isna().any()) for c in ranked}
        width = sum(len(column.feature_names) for column in fitted.values())
        for cap in range(MAX_CATEGORIES, 0, -1):
            encoders = {c: _Categorical.fit(str(c), ranked[c], missing[c], cap) for c in ranked}
            if width + sum(len(encoder.feature_names) for encoder in encoders.values()) <= MAX_WIDTH:
                break
        fitted.update(encoders)
        return cls(tuple(fitted[c] for c in features.columns))

    @property
    def column_names(self) -> list[str]:
        """Names of the columns of the table, in order."""
        return [column.name for column in self.columns]

    @property
    def numeric_names(self) -> frozenset[str]:
        """Names of the columns that hold numbers; the others hold strings."""
        return frozenset(column.name for column in self.columns if isinstance(column, _Numeric))

    @property
    def truth_names(self) -> frozenset[str]:
        """Names of the columns of numbers that are 0 or 1 in all training rows."""
        return frozenset(column.name for column in self.columns if isinstance(column, _Numeric) and column.is_truth)

    def to_json(self) -> list[dict[str, Any]]:
        """Return one JSON-ready dictionary a column; `from_json` inverts it."""
        return [{"numeric": isinstance(column, _Numeric), **asdict(column)} for column in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[dict[str, Any]]) -> "Preprocessor":
        """Build a preprocessor from what `to_json` returned."""
        made: list[_Numeric | _Categorical] = []
        for column in columns:
            values = {name: value for name, value in column.items() if name != "numeric"}
            made.append(
                _Numeric(**values) if column["numeric"] else _Categorical(**values | {"kept": tuple(values["kept"])})
            )
        return cls(tuple(made))

    @property
    def feature_names(self) -> list[str]:
        """Names of the encoded columns, `D` of them: `age`, `age=missing`, `city=Rome`, `city=other`, ..."""
        return [name for column in self.columns for name in column.feature_names]

    def transform(self, features: pd.DataFrame) -> FloatArray:
        """Encode rows.

        Args:
            features: `(n, columns)`, the columns `fit` has seen, in any order.

        Returns:
            `(n, D)` float32, finite.
        """
        out = np.zeros((len(features), len(self.feature_names)), np.float32)
        start = 0
        for column in self.columns:
            block = out[:, start : start + len(column.feature_names)]
            start += block.shape[1]
            if isinstance(column, _Numeric):
                column.write(_to_float(features[column.name]), block)
            else:
                column.write(features[column.name], block)
        return out


@dataclass(frozen=True)
class TargetScaler:
    """Standardises a regression target by the mean and the standard deviation of training rows."""

    mean: float
    scale: float

    def __post_init__(self) -> None:
        """What was read from a file may say anything."""
        if not np.isfinite([self.mean, self.scale]).all() or self.scale <= 0:
            raise ValueError(f"a finite mean and a finite scale above 0 were expected; found {self}")

    @classmethod
    def fit(cls, target: NDArray[np.float64]) -> "TargetScaler":
        """Learn mean and standard deviation from the target of training rows, `(n,)`; a constant one is not scaled."""
        values = np.sort(target)
        std = float(values.std())
        return cls(float(values.mean()), std if std > 1e-12 * float(np.abs(values).max(initial=0.0)) else 1.0)

    def transform(self, target: NDArray[np.float64]) -> FloatArray:
        """Return the standardised target, `(n,)` float32."""
        return ((target - self.mean) / self.scale).astype(np.float32)

    def inverse(self, standardised: FloatArray) -> NDArray[np.float64]:
        """Return standardised values in the units of the target, `(n,)`."""
        return standardised.astype(np.float64) * self.scale + self.mean


def _check_types(*flags: object, names: Sequence[object]) -> None:
    if not all(isinstance(flag, bool) for flag in flags) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names and true or false were expected; found {names[0]!r}, {flags}")


def _to_float(column: pd.Series) -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _rank_categories(column: pd.Series) -> list[str]:
    counts = column.dropna().value_counts(sort=False)
    names, numbers = counts.index.to_numpy(dtype=object), counts.to_numpy()
    alphabetical = np.argsort(names.astype(str), kind="stable")
    order = alphabetical[np.argsort(-numbers[alphabetical], kind="stable")]
    return [str(names[i]) for i in order]
