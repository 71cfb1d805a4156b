"""Some interrupts of a first run and of later commands; `make interrupts` does a hundred."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(3600)]


def test_what_is_interrupted_is_run_again_and_nothing_is_lost() -> None:
    program = Path(__file__).with_name("interrupts.py")
    command = [sys.executable, str(program), "--first", "4", "--later", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert done.stdout.rstrip().endswith("passed")
