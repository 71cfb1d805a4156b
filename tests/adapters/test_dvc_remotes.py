"""Versions copied to S3-compatible storage and to an SSH host and back.

The bucket is one of moto's server, which speaks S3's protocol over HTTP; the host is a server of asyncssh, which speaks
SSH and SFTP and lets one key in.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

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


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder on an SSH host; the key stands where every SSH client looks for it."""
    pytest.importorskip("dvc_ssh", reason="needs the extra `team`")
    import asyncssh

    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(home / ".ssh" / "team")
    (home / ".ssh" / "config").write_text(f"Host 127.0.0.1\n  User team\n  IdentityFile {home}/.ssh/team\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
            sftp_factory=True,
        )

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(listen())
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"ssh://127.0.0.1:{server.get_port()}{tmp_path}/versions"
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def make_repository(root: Path) -> None:
    """Make a git and DVC repository with one stage that has written `data/table.json`."""
    (root / "data").mkdir(parents=True)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    stage = {"cmd": "false", "outs": ["data/table.json"], "deps": ["data/given.json"]}
    (root / "dvc.yaml").write_text(json.dumps({"stages": {"meta_dataset": stage}}))
    for name in ("given", "table"):
        write_json(root / "data" / f"{name}.json", {"a": 1})


def test_what_is_pushed_to_a_bucket_comes_back_bit_for_bit(bucket: str, tmp_path: Path) -> None:
    import boto3

    root = tmp_path / "repository"
    make_repository(root)
    recorded = versioning.record(root, ["meta_dataset"], bucket)
    assert recorded["dvc_push"] == f"copied to {bucket}"
    listed = boto3.client("s3").list_objects_v2(Bucket="versions")["Contents"]
    md5 = versioning.file_md5(root / "data" / "table.json")
    assert [item["Key"] for item in listed] == [f"metaflow_hpo/files/md5/{md5[:2]}/{md5[2:]}"]
    lose_and_pull(root, md5)
    assert not [path for path in root.rglob("*") if path.is_file() and b"s3cret-word" in path.read_bytes()]


def test_what_is_pushed_to_an_ssh_host_comes_back_bit_for_bit(host: str, tmp_path: Path) -> None:
    root = tmp_path / "repository"
    make_repository(root)
    recorded = versioning.record(root, ["meta_dataset"], host)
    assert recorded["dvc_push"] == f"copied to {host}"
    md5 = versioning.file_md5(root / "data" / "table.json")
    assert (tmp_path / "versions" / "files" / "md5" / md5[:2] / md5[2:]).is_file()
    lose_and_pull(root, md5)


def lose_and_pull(root: Path, md5: str) -> None:
    """Lose the local copies, and get the version back."""
    shutil.rmtree(root / ".dvc" / "cache")
    (root / "data" / "table.json").unlink()
    subprocess.run([sys.executable, "-m", "dvc", "pull", "--quiet", "--remote", "metaflow_hpo"], cwd=root, check=True)
    assert versioning.file_md5(root / "data" / "table.json") == md5
