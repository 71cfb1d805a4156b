import math

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTableError, MetaflowHPOError
from metaflow_hpo.metric import KNOWN_METRICS
from metaflow_hpo.modalities import registry, roles
from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup
from metaflow_hpo.modalities.roles import Roles, select_features
from metaflow_hpo.modalities.table.meta_features import TABLE_GROUP
from metaflow_hpo.task import Task

FEATURES = {
    "log_items": MetaFeature("log10 of the number of items", "size"),
    "guess": MetaFeature("accuracy of guessing", "chance"),
    "nearest": MetaFeature("accuracy of the nearest item", "landmark"),
    "centre": MetaFeature("accuracy of the nearest centre", "landmark"),
    "mean": MetaFeature("mean of all"),
}
VALUES = {"log_items": 2.0, "guess": 0.25, "nearest": 0.7, "centre": 0.8, "mean": 3.0}


def make_group(version=1, **changes):
    fields = {"name": "shapes", "version": version, "features": FEATURES, "modalities": ("points",)}
    return MetaFeatureGroup(**{**fields, "measure": lambda data: VALUES, **changes})


class Data:
    task = Task(
        task_id="t",
        family="t",
        modality="points",
        metric=KNOWN_METRICS["accuracy"],
        licence="l",
        source="s",
        sha256="0",
    )


@pytest.fixture
def shapes(monkeypatch):
    group = make_group()
    monkeypatch.setattr(roles, "known_groups", lambda: (TABLE_GROUP, group))
    return group


def test_columns_are_named_by_group_and_by_version_from_the_second_on():
    assert make_group().columns[0] == "mf_shapes.log_items"
    assert make_group(version=2).columns[0] == "mf_shapes.v2.log_items"
    assert TABLE_GROUP.columns[0] == "mf_log_rows"


def test_a_group_describes_a_task_by_its_columns():
    assert make_group().describe(Data()) == {f"mf_shapes.{name}": value for name, value in VALUES.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": lambda data: {"mean": 1.0}}, "Expected the meta-features 'log_items'.*found 'mean'"),
        (
            {"measure": lambda data: {**VALUES, "mean": math.nan}},
            "finite numbers of the group shapes version 1",
        ),
    ],
)
def test_a_group_that_does_not_keep_its_word_is_refused(changes, message):
    with pytest.raises(MetaflowHPOError, match=message):
        make_group(**changes).describe(Data())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "my shapes"}, "a name and a version from 1; got 'my shapes'"),
        ({"version": 0}, "got 'shapes' version 0"),
        ({"features": {"a": MetaFeature("a", "colour")}}, "a role among size, chance.*'a' has another one"),
    ],
)
def test_a_group_without_name_version_or_roles_is_refused(changes, message):
    with pytest.raises(MetaflowHPOError, match=message):
        make_group(**changes)


def test_readers_ask_for_roles_whatever_the_names_and_the_groups(shapes):
    names = (*shapes.columns, "mf_log_rows", "mf_of_nobody", "mf_is_regression", "mf_log_classes")
    found = Roles.of(names)
    row = np.array([[*VALUES.values(), 3.0, 9.0, 0.0, 1.0]])
    assert found.sizes(row).tolist() == [[2.0, 3.0, 1.0, 2.0]]  # items, rows, classes, rows a class
    assert found.best_landmark(row).tolist() == [0.8]
    assert found.chance(row).tolist() == [0.1]
    assert found.finds_nothing(row).tolist() == [False]


def test_a_task_without_a_group_has_nan_there_and_the_next_group_tells(shapes):
    found = Roles.of((*shapes.columns, "mf_is_regression", "mf_log_classes"))
    points, table = [*VALUES.values(), math.nan, math.nan], [math.nan] * 5 + [1.0, 0.0]
    tasks = np.array([points, table])
    np.testing.assert_array_equal(found.chance(tasks), [0.25, 0.0])
    np.testing.assert_array_equal(found.best_landmark(tasks), [0.8, math.nan])


def test_a_table_tells_its_metric_and_how_much_one_column_tells():
    names = ("mf_is_regression", "mf_target_correlation_max", "mf_landmark_stump")
    tasks = np.array([[0.0, 0.9, 0.7], [1.0, 0.9, 0.7], [math.nan, math.nan, math.nan]])
    np.testing.assert_array_equal(Roles.of(names).told_by_one(tasks), [0.7, 0.9, math.nan])
    assert [Roles.of(names).metric(row) for row in tasks] == [
        KNOWN_METRICS["balanced_accuracy"],
        KNOWN_METRICS["r2"],
        None,
    ]


def test_columns_that_no_group_knows_say_nothing(shapes):
    found = Roles.of(("mf_a", "mf_b"))
    tasks = np.ones((3, 2))
    assert found.sizes(tasks).shape == (3, 0)
    assert np.isnan(found.chance(tasks)).all()
    assert np.isnan(found.best_landmark(tasks)).all()
    assert not found.finds_nothing(tasks).any()
    assert np.isnan(found.told_by_one(tasks)).all()
    assert found.metric(tasks[0]) is None


def test_what_was_learned_with_is_picked_out_of_what_is_given(shapes):
    given = {"mf_shapes.guess": 0.5, "mf_shapes.mean": 1.0, "mf_other": 7.0}
    assert select_features(given, ["mf_shapes.mean", "mf_shapes.guess"]).tolist() == [1.0, 0.5]


def test_a_missing_meta_feature_is_refused_with_its_group_and_version(shapes):
    with pytest.raises(InvalidTableError, match=r"missing 'mf_shapes.mean' of the group shapes version 1\. Describe"):
        select_features({"mf_shapes.guess": 0.5}, ["mf_shapes.guess", "mf_shapes.mean"])
    with pytest.raises(InvalidTableError, match=r"must be finite numbers; 'mf_shapes\.guess' are not"):
        select_features({"mf_shapes.guess": math.inf}, ["mf_shapes.guess"])


def test_the_table_has_the_roles_that_are_read():
    by_role = {}
    for name, feature in TABLE_GROUP.features.items():
        by_role.setdefault(feature.role, []).append(name)
    assert by_role["size"] == ["log_rows", "log_encoded_columns", "log_rows_per_encoded_column", "log_classes"]
    assert by_role["chance"] == ["is_regression"]
    assert by_role["landmark"][:2] == ["landmark_linear", "landmark_stump"]
    assert len(by_role["landmark"]) == 8
    assert registry.groups_of("table") == (TABLE_GROUP,)
