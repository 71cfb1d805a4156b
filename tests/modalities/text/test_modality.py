from pathlib import Path

import pandas as pd

from metaflow_hpo.modalities.text.meta_features import TEXT_GROUP
from metaflow_hpo.modalities.text.modality import TEXT_MODALITY
from metaflow_hpo.testing import check_meta_features, check_modality


def test_it_keeps_the_contract_of_a_modality(tmp_path: Path) -> None:
    pass
