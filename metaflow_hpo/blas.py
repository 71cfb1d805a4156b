"""BLAS on one thread while many trainings run side by side: threads of threads lose."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _BlasCap:
    """The process-wide cap on BLAS threads, and how many callers need it now."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.limits: Any = None


_cap = _BlasCap()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Cap BLAS at one thread; overlapping uses share the cap, and the last one to leave lifts it."""
    # Load the library that the kernels call, or there is nothing to cap yet: threads of threads are 8x slower.
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import threadpool_limits

    with _cap.lock:
        _cap.users += 1
        # Again where it is capped already: a limit of somebody else that ended meanwhile has lifted the cap.
        limits = threadpool_limits(limits=1, user_api="blas")
        if _cap.users == 1:
            _cap.limits = limits
    try:
        yield
    finally:
        with _cap.lock:
            _cap.users -= 1
            if _cap.users == 0:
                _cap.limits.restore_original_limits()
