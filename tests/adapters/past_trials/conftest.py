from pathlib import Path

import pytest

from metaflow_hpo.adapters.past_trials.registry import read_past_trials
from metaflow_hpo.adapters.past_trials.source import Wanted


@pytest.fixture
def exports():
    return Path(__file__).with_name("exports")


@pytest.fixture
def read():
    """Read the trials of a tool: `read("optuna", address, metric=...)`."""
    return lambda source, address, **wanted: read_past_trials(source, address, Wanted(**wanted))


@pytest.fixture
def spaces():
    """Return an import's hyperparameters by name, as JSON."""
    return lambda imported: {hp["name"]: hp for hp in imported.space.to_json()}
