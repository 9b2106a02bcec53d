from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from deepseek_operator.weights.errors import InputError, TransferError
from tests.unit.weights.conftest import Fetcher, content_of, expected_of

SERVER = """
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


@dataclass
class Bucket:
    """A bucket with the origin's files under ``models/v3``."""

    url: str
    store: S3Store

    def put(self, name: str, content: bytes) -> None:
        obstore.put(self.store, name, content)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.fixture
def bucket(s3: str, origin: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for method, path in (("POST", "moto-api/reset"), ("PUT", "weights")):
        connection = http.client.HTTPConnection(s3.removeprefix("http://"))
        connection.request(method, f"/{path}")
        connection.getresponse().read()
        connection.close()
    bucket = Bucket(s3, S3Store("weights", prefix="models/v3", client_options={"allow_http": True}))
    for name, content in content_of(origin).items():
        bucket.put(name, content)
    return bucket


SOURCE = "s3://weights/models/v3"


def test_a_prefix_arrives_whole(fetched: Fetcher, bucket: Bucket, origin: Path) -> None:
    result = fetched(source=SOURCE)

    assert content_of(fetched.target) == expected_of(origin)
    assert result.by_size_only == ()


def test_a_part_of_an_earlier_run_is_kept(fetched: Fetcher, bucket: Bucket, origin: Path) -> None:
    """24 MB are uploaded in parts, so that the ETag is no MD5 and only the size can be checked."""
    content = bytes(range(256)) * 93750
    bucket.put("large.dat", content)
    fetched(source=SOURCE)
    (fetched.target / "large.dat").unlink()

    result = fetched(source=SOURCE)

    assert result.received == len(content)
    assert result.by_size_only == ("large.dat",)
    assert (fetched.target / "large.dat").read_bytes() == content


def test_a_copy_of_a_fetched_directory_is_checked_by_its_marker(
    fetched: Fetcher, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("large.dat", bytes(24_000_000))
    fetched(source=SOURCE)
    bucket.put(".deepseek-weights.json", (fetched.target / ".deepseek-weights.json").read_bytes())
    again = Fetcher(fetched.hub, tmp_path / "again", fetched.progress)

    assert again(source=SOURCE).by_size_only == ()
    assert content_of(again.target) == content_of(fetched.target)


def test_a_pinned_revision_refuses_a_changed_prefix(fetched: Fetcher, bucket: Bucket) -> None:
    commit = fetched(source=SOURCE).marker.about["commit"]
    assert fetched(source=SOURCE, revision=commit).received == 0
    bucket.put("config.json", b'{"changed": true}')
    (fetched.target / "config.json").unlink()

    with pytest.raises(InputError, match=f"--revision {commit}: {SOURCE} is at "):
        fetched(source=SOURCE, revision=commit)


@pytest.mark.parametrize(
    ("source", "words"), [("s3://nobucket/x", "no such bucket"), ("s3://weights/none", "no object has this prefix")]
)
def test_a_wrong_place_is_named(fetched: Fetcher, bucket: Bucket, source: str, words: str) -> None:
    with pytest.raises(InputError, match=f"{source}: .*{words}"):
        fetched(source=source)


def test_a_store_that_is_away_ends_patience(fetched: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")

    with pytest.raises(TransferError, match="failed 4 times in a row") as caught:
        fetched(source=SOURCE)

    assert "very-secret" not in str(caught.value)
