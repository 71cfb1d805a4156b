"""The served model, as MLflow logs it: this file itself (models-from-code), beside a folder with the surrogate.

`make serve` does not use it (see `adapters.serving`): it is for whoever loads the champion with MLflow itself.
The one thing to know: MLflow runs this file as a script on every load. A request that is wrong must leave it as an
`MlflowException` with a client error code, for the scoring server turns any other into a traceback for the client.
"""

from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from metaflow_hpo.adapters.serving.request import MAX_K, MAX_TASKS
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.recommender.recommender import Recommender


class ServedModel(PythonModel):
    """Answers each row of meta-features with recommendations."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the surrogate, once for each process of the server."""
        self._recommender = Recommender.load(Path(context.artifacts["surrogate"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Recommend configurations for tasks.

        Args:
            context: Not used.
            model_input: `(T, M)` meta-features, one row a task, one `mf_` column a meta-feature; finite numbers.
            params: `k`, how many configurations to recommend for each task, 1 to 50.

        Returns:
            One JSON-ready dictionary for each task, in the order of the rows.

        Raises:
            MlflowException: With `INVALID_PARAMETER_VALUE` (status 400) if a value or k is outside its range.
        """
        k = (params or {}).get("k", 5)
        if not isinstance(k, Integral) or not 1 <= int(k) <= MAX_K:
            raise MlflowException.invalid_parameter_value(f"k must be a whole number from 1 to {MAX_K}; got {k!r}.")
        if not 1 <= len(model_input) <= MAX_TASKS:
            raise MlflowException.invalid_parameter_value(
                f"A request holds 1 to {MAX_TASKS} tasks, one a row; got {len(model_input)}."
            )
        names = self._recommender.meta_feature_names
        answers = []
        for row, values in enumerate(model_input[list(names)].to_numpy(dtype=float).tolist()):
            try:
                answers.append(self._recommender.recommend(dict(zip(names, values, strict=True)), int(k)))
            except MetaflowHPOError as error:
                raise MlflowException.invalid_parameter_value(f"Task {row}: {error}") from error
        return answers


set_model(ServedModel())
