"""The short soak: one kill of each kind and a full disk, with three good files and all the bad ones.

It takes five to ten minutes, most of them waiting for sensors and retries, hence its mark `slow`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1800)]


def test_nothing_is_lost_torn_or_left_when_everything_dies_once():
    soak = Path(__file__).with_name("soak.py")
    command = [sys.executable, str(soak), "--minutes", "1.5", "--good", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.rstrip().endswith("passed")
