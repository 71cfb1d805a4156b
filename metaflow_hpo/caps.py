"""A cap that many share, and BLAS under one: on one thread while many trainings run side by side, as more lose."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


class Cap:
    """A cap of this process that many may need at once, and how often each thread does now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: Counter[int] = Counter()
        self._before: Any = None

    @contextmanager
    def use(
        self, cap: Callable[[], Any], lift: Callable[[Any], None], leave: Callable[[Any], None] = lambda _: None
    ) -> Iterator[None]:
        """Cap while the block runs.

        Args:
            cap: Caps, and returns what there was before; called at every entry.
            lift: Called with what the first one returned when nobody needs the cap any more.
            leave: Called with it, in place of `lift`, by a thread that needs it no more where others do.
        """
        thread = threading.get_ident()
        with self._lock:
            before = cap()
            if not self._users:
                self._before = before
            self._users[thread] += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= Counter([thread])
                if not self._users:
                    lift(self._before)
                elif thread not in self._users:
                    leave(self._before)


_blas = Cap()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Cap BLAS at one thread; overlapping uses share the cap, and the last one to leave lifts it."""
    # Load the library that the kernels call, or there is nothing to cap yet: threads of threads are 8x slower.
    import scipy.linalg.cython_blas  # noqa: F401

    # At every entry: a limit of somebody else that ended meanwhile has lifted the cap.
    with _blas.use(
        lambda: _find_libraries(len(sys.modules)).limit(limits=1, user_api="blas"),
        lambda limits: limits.restore_original_limits(),
    ):
        yield


@lru_cache(maxsize=1)
def _find_libraries(modules: int) -> "ThreadpoolController":
    """Return the libraries that this process has loaded; looked for again, for some milliseconds, after imports."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
