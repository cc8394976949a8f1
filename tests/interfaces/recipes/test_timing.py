import threading
import time

import jax
import pytest

from jaxmlp.interfaces.recipes.timing import Stopwatch


def test_what_several_threads_compile_at_once_counts_once():
    event = "/jax/core/compile/backend_compile_duration"
    with Stopwatch() as watch:
        time.sleep(0.2)
        threads = [
            threading.Thread(
                target=jax.monitoring.record_event_duration_secs, args=(event, seconds)
            )
            for seconds in (0.05, 0.1, 0.1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        jax.monitoring.record_event_duration_secs("/jax/other", 5.0)
    assert watch.compile == pytest.approx(0.1, abs=0.04)
    assert watch.compile + watch.run == pytest.approx(watch.total)
