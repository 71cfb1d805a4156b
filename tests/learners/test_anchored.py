"""The anchors that ship: configurations of their learner's space that are neither its default nor each other."""

from importlib.resources import files

import pytest

from metaflow_hpo.learners.anchored import read_anchors
from metaflow_hpo.learners.learner import anchors_of
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.space import configuration_id

NAMES = sorted(path.name.removesuffix(".json") for path in files("metaflow_hpo.learners").joinpath("anchors").iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_anchors_are_configurations_of_their_own_beside_the_default(name):
    learner = get_learner(name)
    tried = [learner.space.validate(learner.space.default), *anchors_of(learner)]
    assert len(tried) > 1
    assert len({configuration_id(configuration) for configuration in tried}) == len(tried)


def test_a_learner_without_a_file_has_none():
    assert read_anchors("nobody", get_learner("cnn").space) == ()
    assert anchors_of(get_learner("series")) == ()
