import stat

import numpy as np
from safetensors.numpy import load_file

from metaflow_hpo.array_files import write_arrays


def test_arrays_come_back_and_others_may_read_them(tmp_path):
    arrays = {"even": np.arange(6).reshape(2, 3)[:, ::2], "one": np.float32([1.5])}
    write_arrays(tmp_path / "a.safetensors", arrays)
    (tmp_path / "plain").touch()
    read = load_file(tmp_path / "a.safetensors")
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], array) and read[name].dtype == array.dtype for name, array in arrays.items())
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.safetensors", "plain")]
    assert modes[0] == modes[1]
