"""The trained network of items as MLflow logs it: this file itself, beside a folder with the network.

The one thing to know: MLflow runs this file as a script on every load; a wrong request must leave it with status 400.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from metaflow_hpo.adapters.item_networks import KeptItemNetwork
from metaflow_hpo.adapters.logged_model import ITEM, NETWORK
from metaflow_hpo.errors import MetaflowHPOError


class ItemModel(PythonModel):
    """Predicts pictures, texts, recordings or series."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network, once for each process of the server."""
        self._kept = KeptItemNetwork.load(Path(context.artifacts[NETWORK]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict items.

        Args:
            context: Not used.
            model_input: One line an item, in the column `item`: the bytes of a picture or recording in base64, a text,
                or a series as a list of numbers a channel.
            params: Not used.

        Returns:
            One line an item: `prediction`, and `probability_<class>` for each class.

        Raises:
            MlflowException: With `INVALID_PARAMETER_VALUE` (status 400) if the column is missing, or something in it is
                no such item.
        """
        rows = pd.DataFrame(model_input)
        if ITEM not in rows.columns:
            raise MlflowException.invalid_parameter_value(f"Expected the column {ITEM!r}; found {list(rows.columns)}.")
        try:
            return self._kept.predict_sent(rows[ITEM].tolist())
        except MetaflowHPOError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(ItemModel())
