import numpy as np

from metaflow_hpo.recommender.pool_kernel import PoolKernel, carry_over


def test_values_go_with_scores_and_stop_at_the_ends():
    known, values = np.array([[3.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 0.4]])
    np.testing.assert_allclose(carry_over(known, values, np.array([[1.5, 2.5, 9.0, -9.0]])), [[0.7, 0.2, 0.0, 1.0]])


def test_the_pool_stays_as_it_is_and_new_configurations_come_last(meta):
    past = meta.past_tasks()
    fresh = meta.space.from_unit(np.random.default_rng(0).random((3, 4)))
    extended = PoolKernel.fit(past).extend(fresh)
    for name in ("scores", "deviation", "regret"):
        np.testing.assert_array_equal(getattr(extended, name)[:, :24], getattr(past, name))
    assert extended.configurations == (*meta.configurations, *fresh)
    assert (extended.default, extended.is_shared) == (past.default, True)
    assert ((extended.regret >= 0) & (extended.regret <= 1)).all()


def test_scores_at_held_out_configurations_follow_the_tasks_own(meta):
    # Tasks peak at different learning rates: their mean over tasks says little, each one's neighbours say much.
    held_out = [3, 9, 14, 20]
    kept = [c for c in range(24) if c not in held_out]
    carried = PoolKernel.fit(meta.on(kept).past_tasks()).extend([meta.configurations[c] for c in held_out])
    truth = meta.past_tasks().scores[:, held_out]
    error = np.abs(carried.scores[:, 20:] - truth).mean()
    assert error < 0.8 * np.abs(truth - truth.mean(axis=0)).mean()
    assert np.corrcoef(carried.scores[:, 20:].ravel(), truth.ravel())[0, 1] > 0.7
