import stat

import numpy as np
import pytest
from safetensors.numpy import load_file

from metaflow_hpo.array_files import read_described, write_arrays, write_described
from metaflow_hpo.errors import InvalidTableError


def test_arrays_come_back_and_others_may_read_them(tmp_path):
    arrays = {"even": np.arange(6).reshape(2, 3)[:, ::2], "one": np.float32([1.5])}
    write_arrays(tmp_path / "a.safetensors", arrays)
    (tmp_path / "plain").touch()
    read = load_file(tmp_path / "a.safetensors")
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], array) and read[name].dtype == array.dtype for name, array in arrays.items())
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.safetensors", "plain")]
    assert modes[0] == modes[1]


def test_a_description_comes_back_with_its_arrays_and_a_missing_half_is_named(tmp_path):
    write_described(tmp_path, "kept", {"x": np.array([0.5, np.nan])}, {"name": "wine", "rows": 3})
    arrays, description = read_described(tmp_path, "kept", "fit again.")
    np.testing.assert_array_equal(arrays["x"], [0.5, np.nan])
    assert description == {"name": "wine", "rows": 3}
    (tmp_path / "kept.json").unlink()
    with pytest.raises(InvalidTableError, match=r"Expected kept\.safetensors and kept\.json in .*; fit again\."):
        read_described(tmp_path, "kept", "fit again.")
