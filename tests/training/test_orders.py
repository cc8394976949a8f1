import jax
import numpy as np
import pytest

from jaxmlp.training.orders import (
    Plan,
    draw_block,
    draw_samples,
    epoch_order,
    make_orders,
    plan_poisson,
)

SEED = (3, 5)


def plan_of(n, batch_size, n_epochs=3, drop_last=False):
    return Plan(n, min(batch_size, n), n_epochs, drop_last)


@pytest.mark.parametrize(
    ("n", "batch_size"), [(10, 3), (10, 5), (10, 1), (40_000, 7_000), (300_000, 512)]
)
def test_every_epoch_visits_every_example_once_in_a_new_order(n, batch_size):
    plan = plan_of(n, batch_size)
    orders = make_orders(SEED, plan, None)
    seen = [np.asarray(orders(k)[k % plan.block]) for k in range(3)]
    for order in seen:
        assert order.shape == (plan.n_batches * batch_size,)
        np.testing.assert_array_equal(np.sort(order[:n]), np.arange(n))
        assert (order[n:] == -1).all()
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_epoch_order_is_the_one_of_the_blocks():
    key = jax.random.key(4)
    for n in (1, 5, 100_000):
        plan = plan_of(n, max(1, n // 3), n_epochs=6)
        if plan.is_full_batch:
            assert epoch_order(key, 3, n).tolist() == [0]
            continue
        orders = make_orders(jax.random.key_data(key), plan, None)
        for k in range(6):
            expected = orders(k)[k % plan.block, :n]
            np.testing.assert_array_equal(epoch_order(key, k, n), expected)


def test_drop_last_leaves_out_another_rest_each_epoch():
    plan = plan_of(10, 4, n_epochs=200, drop_last=True)
    orders = draw_block(SEED, plan, 0)
    assert orders.shape == (200, 8)
    assert (np.diff(np.sort(orders, axis=1), axis=1) > 0).all()
    assert set(orders.ravel()) == set(range(10))
    assert not plan.has_padding


def test_full_batch_needs_no_order():
    plan = plan_of(10, 20)
    assert (plan.n_batches, plan.has_padding) == (1, False)
    assert make_orders(SEED, plan, None)(2).shape == (1, 0)


def test_an_epoch_s_order_does_not_depend_on_the_length_of_the_run():
    short, long = (draw_block(SEED, plan_of(50, 8, n_epochs), 0) for n_epochs in (3, 40))
    np.testing.assert_array_equal(short, long[:3])


def test_blocks_can_be_drawn_in_any_order_and_differ():
    plan = plan_of(200_000, 1_000, n_epochs=3)
    assert plan.block == 1
    orders, again = make_orders(SEED, plan, None), make_orders(SEED, plan, None)
    backwards = {k: np.asarray(again(k)) for k in (2, 1, 0)}
    for k in range(3):
        np.testing.assert_array_equal(orders(k), backwards[k])
    assert not np.array_equal(backwards[0], backwards[1])


def test_orders_are_uniform():
    # Each of the 6 orders of 3 examples in a sixth of 6,000 epochs: the standard
    # deviation of a count is 29.
    orders = draw_block(SEED, plan_of(3, 1, n_epochs=6_000), 0)
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert np.abs(counts - 1_000).max() < 5 * 29


def test_keys_of_both_kinds_decide():
    plan = plan_of(100, 10)
    typed, raw, other = (
        make_orders(jax.random.key_data(key), plan, None)(0)
        for key in (jax.random.key(1), jax.random.PRNGKey(1), jax.random.key(2))
    )
    np.testing.assert_array_equal(typed, raw)
    assert not np.array_equal(typed, other)


def test_poisson_samples_are_sets_of_rows_that_fit_their_places():
    plan = plan_poisson(SEED, 500, 40, n_epochs=30)
    assert plan.n_batches == 13
    samples = draw_samples(SEED, plan, 0).reshape(-1, plan.batch_size)
    assert samples.shape[0] == 30 * 13
    sizes = (samples >= 0).sum(axis=1)
    assert plan.batch_size - 32 < sizes.max() <= plan.batch_size
    for sample, size in zip(samples, sizes, strict=True):
        assert (sample[size:] == -1).all()
        assert len(set(sample[:size])) == size
    assert samples.max() == 499


def test_poisson_samples_have_the_right_distribution():
    # 3 rows, each with probability 1/3: each of the 8 subsets by its probability. The
    # standard deviation of a count among 30,000 steps is at most 80.
    plan = plan_poisson(SEED, 3, 1, n_epochs=10_000)
    samples = draw_samples(SEED, plan, 0).reshape(30_000, plan.batch_size)
    subsets = [frozenset(row[row >= 0].tolist()) for row in samples]
    for subset in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        wanted = 30_000 * (1 / 3) ** len(subset) * (2 / 3) ** (3 - len(subset))
        assert abs(subsets.count(frozenset(subset)) - wanted) < 5 * 80
    # Neighbouring steps are independent: both hold row 0 with probability 1/9.
    with_0 = np.array([0 in subset for subset in subsets])
    assert abs((with_0[1:] & with_0[:-1]).sum() - 30_000 / 9) < 5 * 60


def test_poisson_samples_do_not_depend_on_blocks_or_length():
    plan = plan_poisson(SEED, 200_000, 1_000, n_epochs=3)
    assert plan.block == 1
    orders = make_orders(SEED, plan, None)
    backwards = {k: np.asarray(orders(k)) for k in (2, 1, 0)}
    for k in range(3):
        np.testing.assert_array_equal(draw_samples(SEED, plan, k), backwards[k])
    assert not np.array_equal(backwards[0], backwards[1])
    short = plan_poisson(SEED, 200_000, 1_000, n_epochs=1)
    rows = draw_samples(SEED, short, 0).reshape(200, -1)
    longer = backwards[0].reshape(200, -1)
    width = min(rows.shape[1], longer.shape[1])
    np.testing.assert_array_equal(rows[:, :width], longer[:, :width])


def test_poisson_samples_of_rate_one_are_all_rows():
    plan = plan_poisson(SEED, 50, 50, n_epochs=3)
    assert (plan.is_full_batch, plan.has_padding, plan.n_batches) == (True, False, 1)
