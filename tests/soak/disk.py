"""A data folder on a small disk of its own, which can be filled up: the writes of the program really fail (ENOSPC)."""

import errno
import os
import shutil
import subprocess
import sys
import time
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


def fill(folder: Path, seconds: float) -> bool:
    """Fill the disk to the last byte, keep it full so long, and empty it; return whether it was full."""
    filler = folder / ".filler"
    was_full = False
    deadline = time.monotonic() + seconds
    try:
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < deadline:
                try:
                    file.write(b"\0" * 65_536)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    was_full = True
                    time.sleep(0.2)  # what others free is taken, too
    finally:
        filler.unlink(missing_ok=True)
    return was_full
