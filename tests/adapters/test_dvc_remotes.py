"""Versions copied to S3-compatible storage and back, on a server of moto that speaks S3's protocol over HTTP."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaflow_hpo.adapters import versioning
from metaflow_hpo.adapters.files import write_json

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # botocore's own
]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket; where it is and who asks stands in the variables that every S3 client reads."""
    pytest.importorskip("dvc_s3", reason="needs the extra `team`")
    server = pytest.importorskip("moto.server", reason="needs the extra `dev`")
    import boto3

    moto = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*moto.get_host_and_port()))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "team")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-word")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="versions")
        yield "s3://versions/metaflow_hpo"
    finally:
        moto.stop()


def test_what_is_pushed_to_a_bucket_comes_back_bit_for_bit(bucket: str, tmp_path: Path) -> None:
    import boto3

    root = tmp_path / "repository"
    (root / "data").mkdir(parents=True)

    def call(*command: str) -> None:
        subprocess.run(command, cwd=root, check=True, capture_output=True)

    call("git", "init", "--quiet")
    call(sys.executable, "-m", "dvc", "init", "--quiet")
    stage = {"cmd": "false", "outs": ["data/table.json"], "deps": ["data/given.json"]}
    write_json(root / "dvc.yaml", {"stages": {"meta_dataset": stage}})
    for name in ("given", "table"):
        write_json(root / "data" / f"{name}.json", {"a": 1})
    recorded = versioning.record(root, ["meta_dataset"], bucket)
    assert recorded["dvc_push"] == f"copied to {bucket}"
    listed = boto3.client("s3").list_objects_v2(Bucket="versions")["Contents"]
    md5 = versioning.file_md5(root / "data" / "table.json")
    assert [item["Key"] for item in listed] == [f"metaflow_hpo/files/md5/{md5[:2]}/{md5[2:]}"]
    shutil.rmtree(root / ".dvc" / "cache")
    (root / "data" / "table.json").unlink()
    versioning.pull(root, "metaflow_hpo")
    assert versioning.file_md5(root / "data" / "table.json") == md5
    assert not [path for path in root.rglob("*") if path.is_file() and b"s3cret-word" in path.read_bytes()]
