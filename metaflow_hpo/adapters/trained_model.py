"""The trained network as MLflow logs it: this file itself (models-from-code), beside a folder with the network.

The one thing to know: MLflow runs this file as a script on every load; a wrong request must leave it with status 400.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.trained_rows import TrainedNetwork
from metaflow_hpo.modalities.table.conform import conform_rows

_log = logging.getLogger(__name__)


class TrainedModel(PythonModel):
    """Predicts rows of a person's table."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network, once for each process of the server."""
        self._network = TrainedNetwork.load(Path(context.artifacts["network"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict rows.

        Args:
            context: Not used.
            model_input: `(n, columns)` rows as in the table that was trained on; the target may be missing. MLflow's
                server gives a dictionary of columns where `inputs` or `instances` were sent.
            params: Not used.

        Returns:
            One line a row: `prediction`, and `probability_<class>` for classification.

        Raises:
            MlflowException: With `INVALID_PARAMETER_VALUE` (status 400) if a column is missing, or these are no rows.
        """
        try:
            rows = pd.DataFrame(model_input)
        except (ValueError, TypeError) as error:
            raise MlflowException.invalid_parameter_value(f"Expected rows of a table; found: {error}.") from error
        try:
            conformed = conform_rows(rows, self._network.columns)
        except MetaflowHPOError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        for note in conformed.notes:
            _log.warning(note)
        return self._network.predict(conformed.features)


set_model(TrainedModel())
