import math
from dataclasses import replace

import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.space import configuration_id
from metaflow_hpo.trial import Trial

OK = Trial("iris", "flowers", "mlp", {"layers": 2}, "sobol", 0, 50, 0.9, 0.8, 1.5)
FAILED = replace(OK, performance=math.nan, test_performance=math.nan, status="failed", reason="diverged")


def test_a_trial_is_named_by_its_configuration():
    assert OK.configuration_id == configuration_id({"layers": 2})


def test_a_failed_trial_is_data():
    assert FAILED.status == "failed"
    assert math.isnan(FAILED.performance)


@pytest.mark.parametrize(
    ("trial", "change", "message"),
    [
        (OK, {"status": "running"}, "status must be one of ok, failed, stopped; got 'running'"),
        (OK, {"performance": math.nan}, "needs a finite performance; got nan"),
        (OK, {"performance": math.inf}, "needs a finite performance; got inf"),
        (FAILED, {"reason": ""}, "A trial that is failed needs a reason"),
        (FAILED, {"status": "stopped", "reason": ""}, "A trial that is stopped needs a reason"),
        (FAILED, {"performance": 0.0}, "needs a reason and no performance; got 0.0"),
        (OK, {"fidelity": 0}, "Impossible effort on 'iris': 0 epochs"),
        (OK, {"duration_s": -1.0}, "Impossible effort"),
    ],
)
def test_an_impossible_trial_is_refused(trial, change, message):
    with pytest.raises(InvalidTableError, match=message):
        replace(trial, **change)
