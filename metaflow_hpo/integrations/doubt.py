"""Whether the past is worth following: now and then a trial is drawn without it, and compared with what it proposed."""

from collections.abc import Mapping, Sequence
from enum import Enum

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from metaflow_hpo.integrations.studies import read_values

ALONE = "metaflow_hpo:alone"
"""Attribute of a trial that was chosen without the past."""
FIRST_TEST = 2
"""Trials of the past's before the first that is drawn without it."""
TESTED_UP_TO = 10
"""Trials after which the study's own model is good enough to win although the past is right."""
_BETWEEN, _ONCE_LOST = 4, 2
"""Trials from one test to the next, and where the past has lost one."""
_ENOUGH = 2


class Trust(Enum):
    """Who chooses a trial: the past, nobody (it is drawn at random, to test the past), or the study's own trials."""

    PAST = "past"
    TEST = "test"
    NONE = "none"


def judge(trials: Sequence[FrozenTrial], direction: StudyDirection, number: int) -> Trust:
    """Tell whom a trial is to be chosen by.

    A test is lost by the past where the trial that was drawn at random beats all that the past had proposed before. One
    lost or drawn test is repeated at once; two in a row lost end its say.

    Args:
        trials: The other trials of the study.
        direction: Of the study.
        number: Number of the trial.
    """
    values = read_values(trials, direction)
    alone = {t.number: ALONE in t.system_attrs for t in trials}
    verdicts = _judge({n: v for n, v in values.items() if n < TESTED_UP_TO}, alone)
    decided = [verdict for _, verdict in verdicts if verdict]
    if any(decided[i : i + _ENOUGH] == [1] * _ENOUGH for i in range(len(decided))):
        return Trust.NONE
    is_waiting = any(ALONE in t.system_attrs and not t.state.is_finished() for t in trials)
    if number >= TESTED_UP_TO or is_waiting or sum(not alone[n] for n in values) < FIRST_TEST:
        return Trust.PAST
    between = _ONCE_LOST if any(verdict > 0 for _, verdict in verdicts) else _BETWEEN
    is_due = not verdicts or verdicts[-1][1] >= 0 or number - verdicts[-1][0] >= between
    return Trust.TEST if is_due else Trust.PAST


def _judge(values: Mapping[int, float], alone: Mapping[int, bool]) -> list[tuple[int, int]]:
    """Return the tests by number: 1 where the past has lost, -1 where it has won, 0 where they are level."""
    found = []
    for number in sorted(values):
        before = [values[n] for n in values if n < number and not alone[n]]
        if alone[number] and before:
            best = max(before)
            found.append((number, (values[number] > best) - (values[number] < best)))
    return found
