"""Makes compiled kernels ready before threads start, once a process."""

import importlib
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)
_lock = threading.Lock()


def warm_up(kernel: Any, engine: str) -> None:
    """Make a kernel and all that it calls ready, before threads start: numba compiles under a lock of its own.

    What is not in numba's cache is compiled by a process of its own, and loaded from the cache here like in every later
    process: code that was just compiled rounds otherwise in the last digit, and a resumed search would show it.

    Args:
        kernel: The outermost compiled function.
        engine: Module with `train_tiny()`, which calls it.
    """
    with _lock:
        if kernel.signatures:
            return
        if not _is_cached(kernel):
            _log.info("Compiling the trainer, once: 10 to 30 seconds.")
            command = [sys.executable, "-c", f"from {engine} import train_tiny; train_tiny()"]
            # The package need not be installed: the process finds it where this one did.
            path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})  # noqa: S603
        importlib.import_module(engine).train_tiny()


def _is_cached(kernel: Any) -> bool:
    """Tell whether numba's cache holds a kernel of its very source."""
    source = Path(kernel.py_func.__code__.co_filename)
    folder = Path(kernel.stats.cache_path or ".")
    indices = folder.glob(f"{source.stem}.{kernel.__name__}-*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indices)
