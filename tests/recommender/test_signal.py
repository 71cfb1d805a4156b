import numpy as np
import pytest

from metaflow_hpo.recommender.signal import lacks_signal


def described(best, *, rows=600, classes=2, minority=0.5, regression=False):
    return {
        "mf_log_rows": np.log10(rows),
        "mf_is_regression": float(regression),
        "mf_log_classes": 0.0 if regression else np.log10(classes),
        "mf_minority_fraction": 0.0 if regression else minority,
        "mf_landmark_linear": best,
        "mf_landmark_stump": best - 0.2,
        "mf_landmark_neighbour_minus_linear": 0.9,
        "mf_landmark_network_gain": 0.9,
    }


@pytest.mark.parametrize(("best", "lacking"), [(0.60, True), (0.61, False)])
def test_the_best_landmark_must_be_three_standard_errors_above_guessing(best, lacking):
    # 200 held-out rows: 0.5 + 3 sqrt(0.25 / 200) = 0.6061.
    assert lacks_signal(described(best)) is lacking


def test_a_rare_class_makes_it_less_sure():
    # Recalls of 20 and 180 rows: 0.5 + 3 sqrt(0.25 (0.25 / 20 + 0.25 / 180)) = 0.6768.
    assert lacks_signal(described(0.67, minority=0.1)) is True
    assert lacks_signal(described(0.68, minority=0.1)) is False
    assert lacks_signal(described(0.63)) is False


def test_many_rows_do_not_count_beyond_those_the_probes_saw():
    # 667 held-out rows: 0.5581.
    assert lacks_signal(described(0.557, rows=1_000_000)) is True
    assert lacks_signal(described(0.560, rows=1_000_000)) is False


def test_r2_is_compared_with_what_noise_reaches():
    assert lacks_signal(described(0.09, regression=True)) is True
    assert lacks_signal(described(0.11, regression=True)) is False


def test_without_landmarks_nothing_is_known():
    assert lacks_signal({"mf_log_rows": 3.0}) is False
    assert lacks_signal({"mf_landmark_linear": 0.5}) is False
