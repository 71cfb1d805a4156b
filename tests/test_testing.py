import pytest

from metaflow_hpo.collect.strategies.listed import ListedStrategy, make_random
from metaflow_hpo.collect.strategies.registry import STRATEGY_NAMES
from metaflow_hpo.recommender.strategies.peers import PACKAGES
from metaflow_hpo.testing import check_strategy


@pytest.mark.parametrize("name", [name for name in STRATEGY_NAMES if name != "optuna_gp"])
def test_every_strategy_keeps_the_contract(name):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    check_strategy(name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_optunas_gaussian_process_keeps_the_contract_too():
    check_strategy("optuna_gp")


class Forgetful(ListedStrategy):
    def ask(self, count):
        return [self._source(1)[0]] * count


class Overeager(ListedStrategy):
    def ask(self, count):
        return super().ask(count + 1)


def make_forgetful(context):
    return Forgetful(lambda _: [context.space.validate(context.space.default)])


def make_unconfined(context):
    from dataclasses import replace

    return make_random(replace(context, pool=None))


def make_unsettled(context):
    from dataclasses import replace

    make_unsettled.seed += 1
    return make_random(replace(context, seed=make_unsettled.seed))


make_unsettled.seed = 0


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        (make_forgetful, "nothing is asked for twice"),
        (lambda context: Overeager(lambda _: context.space.grid(30)), "asked for 1, it returns 1"),
        (make_unconfined, "proposals are of the pool"),
        (make_unsettled, "the same seed and trials give the same"),
    ],
)
def test_a_strategy_that_breaks_the_contract_is_told_what_was_expected(factory, complaint):
    with pytest.raises(AssertionError, match=f"Expected of a plug-in: {complaint}"):
        check_strategy(factory)
