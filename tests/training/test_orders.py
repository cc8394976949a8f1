import jax
import numpy as np
import pytest

from jaxmlp.training.orders import Plan, draw_block, epoch_order, make_orders

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
        assert not order[n:].any()
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
    assert plan.n_padding == 0


def test_full_batch_needs_no_order():
    plan = plan_of(10, 20)
    assert (plan.n_batches, plan.n_padding) == (1, 0)
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
