"""Generation into buckets of a real S3 server (moto's, on loopback): same bytes, resumable, nothing half-written."""

from __future__ import annotations

import gc
import hashlib
import json
import pickle
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from generation_runs import arguments, ended, start
from werkzeug.serving import make_server

from vae_core.cli import call
from vae_core.config import GenerationConfig
from vae_core.errors import ArtifactError, ConfigError, StorageError
from vae_core.generation import BLOCK, generate
from vae_core.generation.shards import Folder, Run
from vae_core.generation.verify import unfinished, verify
from vae_core.store import Artifact, Place, Store, place_of
from vae_core.store.s3 import S3Place

moto_server = pytest.importorskip("moto.server")
ROWS = 5 * BLOCK + 100
SECRET = "hunter2-and-more"


def config(**changes: object) -> GenerationConfig:
    settings = {"rows": ROWS, "seed": 7, "rows_per_shard": BLOCK, "device": "cpu", "workers": 2} | changes
    return GenerationConfig.model_validate(settings)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    running = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A new bucket, and an environment to reach it."""
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    name = "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    urllib.request.urlopen(urllib.request.Request(f"{server}/{name}", method="PUT")).read()
    return name


@pytest.fixture(scope="session")
def whole(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Content of the files of a local run."""
    return contents(generate(model, config(), Store(tmp_path_factory.mktemp("whole"))).place)


def contents(place: Place) -> dict[str, str]:
    return {name: place.sha256(name) for name in place.sizes() if name.endswith(".parquet")}


def test_a_bucket_gets_the_bytes_of_a_folder(
    model: Artifact, whole: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    settings = config(output=f"s3://{bucket}/some/prefix/")
    dataset = generate(model, settings, Store(tmp_path))
    assert str(dataset.place) == f"s3://{bucket}/some/prefix" and list(tmp_path.iterdir()) == []
    assert contents(dataset.place) == whole and verify(dataset) == []
    assert verify(Artifact.load(f"s3://{bucket}/some/prefix")) == []
    assert generate(model, settings, Store(tmp_path)).manifest == dataset.manifest  # it stood
    assert isinstance(dataset.place, S3Place)
    assert pq.read_table(f"{bucket}/some/prefix", filesystem=dataset.place.filesystem).num_rows == ROWS
    with pytest.raises(ArtifactError, match="another model, seed"):
        generate(model, settings.model_copy(update={"seed": 8}), Store(tmp_path))
    with pytest.raises(ArtifactError, match="copy it to a local folder"):
        _ = dataset.folder


def test_partitions_go_to_a_bucket_as_well(model: Artifact, bucket: str, tmp_path: Path) -> None:
    settings = config(rows=2 * BLOCK, partition_by=["origin"])
    local = generate(model, settings, Store(tmp_path))
    there = generate(model, settings.model_copy(update={"output": f"s3://{bucket}"}), Store(tmp_path))
    assert contents(there.place) == contents(local.place) and verify(there) == []
    assert isinstance(there.place, S3Place)
    dataset = ds.dataset(bucket, filesystem=there.place.filesystem, partitioning="hive")
    assert dataset.count_rows() == 2 * BLOCK and "origin" in dataset.schema.names


def test_a_killed_run_is_resumed_from_what_is_in_the_bucket(
    model: Artifact, whole: dict[str, str], bucket: str
) -> None:
    place = place_of(f"s3://{bucket}/out")
    asked = arguments(model, str(place), ROWS)
    for kills in range(2):
        process = start([*asked, "--resume"])
        deadline = time.monotonic() + 60
        while sum(name.startswith(".records/part") for name in place.sizes()) < kills + 1:
            assert time.monotonic() < deadline and process.poll() is None
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        there = contents(place)
        assert there.items() <= whole.items()  # whatever has a name is whole
        assert place.read("_manifest.json") is None and "shards are missing" in str(unfinished(place))
    assert call(["verify", str(place)]) == 2
    assert ended(start([*asked, "--resume"])) == (0, "")
    assert contents(place) == whole
    assert call(["verify", str(place)]) == 0 and call(["show", str(place)]) == 0


def test_machines_share_a_prefix_without_a_coordinator(
    model: Artifact, whole: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    def make(shards: str) -> Artifact:
        return generate(model, config(output=f"s3://{bucket}/out", shards=shards), Store(tmp_path))

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(make, [":2", "2:4", "3:"]))
    place = place_of(f"s3://{bucket}/out")
    assert any("missing" not in dataset.manifest for dataset in made)
    assert contents(place) == whole and verify(Artifact.load(place)) == []


def test_only_one_creates(bucket: str) -> None:
    place = place_of(f"s3://{bucket}/x")
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda i: (place.create("_manifest.json", b"%d" % i), b"%d" % i), range(8)))
    assert [data for created, data in done if created] == [place.read("_manifest.json")]
    place.write("_manifest.json", b"new")
    assert place.read("_manifest.json") == b"new" and place.sizes() == {"_manifest.json": 3}


def test_large_files_go_up_in_parts_and_whole(bucket: str) -> None:
    place = place_of(f"s3://{bucket}")
    data = bytes(range(256)) * (100 << 10)  # 25 MiB: three parts
    draft = place.draft("folder/large.bin")
    draft.write(data)
    assert place.sizes() == {}
    draft.commit()
    assert place.sizes() == {"folder/large.bin": len(data)}
    assert place.sha256("folder/large.bin") == draft.sha256 == hashlib.sha256(data).hexdigest()
    dropped = place.draft("dropped")
    dropped.write(data)
    dropped.discard()
    assert place.read("dropped") is None


def refuses_second_parts(environ: dict[str, str], answer: Callable[..., object]) -> Iterable[bytes]:
    """The server's application, but for one kind of request."""
    if "partNumber=2" not in environ["QUERY_STRING"]:
        return moto_server.DomainDispatcherApplication(moto_server.create_backend_app)(environ, answer)
    answer("403 Forbidden", [("Content-Type", "application/xml")])
    return [b"<Error><Code>AccessDenied</Code></Error>"]


def test_an_upload_that_fails_in_the_middle_leaves_nothing_visible(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_server("127.0.0.1", 0, refuses_second_parts, threaded=True)  # with the same buckets
    threading.Thread(target=other.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{other.server_port}")
    place = S3Place(bucket, "x")
    draft = place.draft("part.parquet")
    draft.write(b"x" * (25 << 20))
    with pytest.raises(StorageError, match="access denied"):
        draft.commit()
    draft.discard()
    del draft
    gc.collect()  # a stream that is collected closes itself
    assert place.sizes() == {}
    other.shutdown()


def authenticate(server: str, after: str) -> None:
    """Let the server check who asks, after so many requests."""
    header = {"Content-Type": "text/plain"}
    made = urllib.request.Request(f"{server}/moto-api/reset-auth", after.encode(), header, method="POST")
    urllib.request.urlopen(made).read()


def test_what_goes_wrong_is_told_in_a_line(
    model: Artifact, bucket: str, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(output: str) -> str:
        code, errors = call(arguments(model, output, ROWS)), capsys.readouterr().err.strip()
        assert len(errors.splitlines()) == 1 and errors.startswith("error: ") and SECRET not in errors, errors
        return f"{code} {errors}"

    assert "2 error: s3://no-such-bucket/x: there is no bucket 'no-such-bucket'" in told("s3://no-such-bucket/x")
    for wrong in (f"s3://user:{SECRET}@{bucket}/x", f"s3://user:{SECRET}/with/slash@{bucket}/x"):
        assert "2 error: command line: `output`: an s3:// address has no credentials" in told(wrong)
    assert "2 error: " in (said := told("gs://bucket/x")) and "s3://bucket/prefix" in said
    authenticate(server, "0")
    try:
        assert "2 error: " in (said := told(f"s3://{bucket}/x")) and "access denied" in said
    finally:
        authenticate(server, "inf")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "1 error: " in (said := told(f"s3://{bucket}/x")) and "http://127.0.0.1:9 doesn't answer" in said
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:9")
    assert "2 error: AWS_ENDPOINT_URL" in told(f"s3://{bucket}/x")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "2 error: no credentials for S3" in told(f"s3://{bucket}/x")


def test_looking_at_nothing_says_so(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("verify", "show"):
        code, errors = call([command, f"s3://{bucket}/nothing"]), capsys.readouterr().err
        assert (code, errors) == (2, f"error: s3://{bucket}/nothing: no such artifact\n")
        code, errors = call([command, "s3://no-such-bucket/nothing"]), capsys.readouterr().err
        assert code == 2 and "there is no bucket" in errors


def test_a_server_that_goes_away_ends_the_run_and_what_was_finished_stays(
    model: Artifact, whole: dict[str, str], bucket: str, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)  # with the same buckets
    other.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*other.get_host_and_port()))

    def progress(done: float, total: float | None = None, note: str = "") -> None:
        if 2 * BLOCK <= done < 3 * BLOCK:
            other.stop()

    settings = config(output=f"s3://{bucket}/out", workers=1)
    with pytest.raises(StorageError, match="doesn't answer"):
        generate(model, settings, Store(tmp_path), progress=progress)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    place = place_of(f"s3://{bucket}/out")
    assert 1 <= len(contents(place)) < len(whole) and contents(place).items() <= whole.items()
    assert contents(generate(model, settings, Store(tmp_path)).place) == whole


def test_a_place_is_sent_without_credentials(bucket: str) -> None:
    place = place_of(f"s3://{bucket}/x")
    place.write("a", b"1")
    sent = pickle.dumps(place)
    assert SECRET.encode() not in sent and pickle.loads(sent).read("a") == b"1"


def test_records_and_manifest_hold_no_credentials(model: Artifact, bucket: str, tmp_path: Path) -> None:
    dataset = generate(model, config(rows=100, output=f"s3://{bucket}/out"), Store(tmp_path))
    for name in dataset.place.sizes():
        if name.endswith(".json"):
            assert SECRET not in json.dumps(json.loads(dataset.place.read(name) or b"{}"))


@pytest.mark.parametrize("address", ["s3://", "s3:///x", "s3://b/../x", "s3://b/x?endpoint=y"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        place_of(address)


def test_many_begin_at_the_same_moment(bucket: str) -> None:
    run = Run("digest", "model", seed=1, rows=BLOCK, rows_per_shard=BLOCK, compression="zstd")

    def begin(i: int) -> bool:
        folder = Folder(place_of(f"s3://{bucket}/{i // 8}"), run)
        folder.prepare(resume=True)
        return folder.prepared()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(begin, range(200)))
