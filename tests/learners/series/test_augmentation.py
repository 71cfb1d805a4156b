import pytest
import torch

from metaflow_hpo.learners.series.augmentation import augment_series


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(count=200, steps=50):
    """Return `(n, 2, t)`: a straight line from 0 to 1, and ones."""
    line = torch.linspace(0, 1, steps).expand(count, steps)
    return torch.stack([line, torch.ones(count, steps)], 1).clone()


def test_nothing_is_changed_without_strength():
    x = waves()
    assert torch.equal(augment_series(x.clone(), 0.0, stream()), x)


def test_noise_and_factors_have_the_strength_that_is_asked_for():
    x = waves(4000)
    x[:, 0] = 1.0
    changed = augment_series(x.clone(), 1 / 3, stream())[:, 0]
    there = changed != 0
    mean = changed.sum(1) / there.sum(1)
    assert float(mean.log().std()) == pytest.approx(0.1, rel=0.1)
    assert float(mean.mean()) == pytest.approx(1, abs=0.02)
    noise = (changed - mean[:, None])[there]
    assert 0.07 < float(noise.std()) < 0.1  # lines between neighbours smooth it


def test_a_part_is_stretched_over_all_steps_and_a_span_is_hidden():
    x = 1e6 * waves(2000, 101)  # beside which noise is nothing
    x[:, 1] = 1
    line = augment_series(x.clone(), 0.8, stream())[:, 0]
    hidden = (line == 0).float().mean(1)
    assert 0.2 >= float(hidden.max()) > 0.15
    factor = line.max(1).values.clamp_min(1)
    slope = (line[:, 1:] - line[:, :-1]).median(1).values * 100 / factor  # what was kept, seen from the highest
    assert float(slope.min()) >= 0.55
    assert float(slope.max()) <= 1.01


def test_what_follows_the_end_stays_nothing_where_it_is_now():
    x = waves()
    x[:, :, 30:] = 0
    changed = augment_series(x.clone(), 0.01, stream())
    assert not changed[:, :, 31:].any()


def test_the_same_stream_gives_the_same():
    one, other = (augment_series(waves(), 0.3, stream(5)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, augment_series(waves(), 0.3, stream(6)))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_series_of_hardly_any_steps_stay_finite(steps):
    assert torch.isfinite(augment_series(waves(5, steps), 1.0, stream())).all()
