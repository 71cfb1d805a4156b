"""The quick soak: four good and three bad files, one kill -9 of each kind, and a full disk.

It takes two minutes on two idle processors, and longer where others work: hence the long limit.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


def test_nothing_is_lost_torn_or_left_when_everything_dies_once(tmp_path):
    soak = Path(__file__).with_name("soak.py")
    command = [sys.executable, str(soak), "--quick", "--keep", str(tmp_path / "soak")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate()
        finally:
            process.terminate()  # where this test is told to stop: it stops its servers then
    assert process.returncode == 0, said[-6000:]
    assert said.rstrip().endswith("passed")
