import subprocess
import sys

import pytest

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.plugins import Registry, load_address

SHAPES = Registry("shape", "metaflow_hpo.tests_shapes", {"circle": "math:pi", "path": "os:path.sep"})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with an entry point, in a folder of its own."""
    (tmp_path / "shapes_of_mine.py").write_text("square = 4\n")
    metadata = tmp_path / "shapes_of_mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shapes-of-mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[metaflow_hpo.tests_shapes]\nsquare = shapes_of_mine:square\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_what_is_built_in_is_found_by_name():
    assert SHAPES.load("circle") == pytest.approx(3.14159, abs=1e-5)
    assert SHAPES.load("path") == "/"
    assert SHAPES.names == ("circle", "path")


def test_an_installed_package_adds_by_entry_point(package):
    assert SHAPES.load("square") == 4
    assert SHAPES.names == ("circle", "path", "square")


def test_an_address_needs_no_registration():
    assert SHAPES.load("math:e") == pytest.approx(2.71828, abs=1e-5)


def test_a_module_in_the_folder_of_the_program_is_found(tmp_path):
    (tmp_path / "here.py").write_text("triangle = 3\n")
    code = "from metaflow_hpo.plugins import load_address; print(load_address('here:triangle', 'shape'))"
    found = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == "3\n"


def test_an_unknown_name_is_answered_with_those_that_there_are():
    with pytest.raises(MetaflowHPOError, match=r"The shape must be one of circle, path, or an address .* got 'cube'"):
        SHAPES.load("cube")


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("no_such_module:x", "cannot be imported: No module named 'no_such_module'"),
        ("math:tau.half", "'float' object has no attribute 'half'. Correct the name behind the colon"),
    ],
)
def test_a_wrong_address_says_what_is_wrong_with_it(address, complaint):
    with pytest.raises(MetaflowHPOError, match=complaint):
        load_address(address, "shape")
