"""A data folder on a small disk of its own, which can be filled up: the writes of the program really fail (ENOSPC)."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

INSIDE = "SOAK_OWN_MOUNTS"
SIZE_MB = 192


def enter_namespace(arguments: list[str]) -> None:
    """Start this program again where it may mount, seen by nobody else; go on as it is where that is not allowed."""
    if INSIDE in os.environ or shutil.which("unshare") is None:
        return
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", "--mount", *as_root]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", [*unshare, sys.executable, *arguments])  # noqa: S606


def mount_small_disk(folder: Path) -> bool:
    """Put a disk of `SIZE_MB` at a folder; False where this system does not let us."""
    folder.mkdir(parents=True, exist_ok=True)
    if INSIDE not in os.environ:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "soak", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def fill(folder: Path, seconds: tuple[float, float], was_felt: Callable[[], bool]) -> bool:
    """Fill the disk to the last byte, and empty it when a step failed for it.

    Args:
        folder: The disk.
        seconds: How long it is kept full at least, and at most.
        was_felt: Whether a step failed.

    Returns:
        Whether it was full.
    """
    filler = folder / ".filler"
    began, is_full = time.monotonic(), False
    try:
        with filler.open("wb", buffering=0) as file:
            while (passed := time.monotonic() - began) < seconds[1]:
                try:
                    file.write(b"\0" * 65_536)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    is_full = True
                    if passed >= seconds[0] and was_felt():
                        break
                    time.sleep(0.5)  # what others free is taken, too
            return is_full
    finally:
        filler.unlink(missing_ok=True)
