import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_core.errors import ArtifactError, BusyError, ConfigError, StorageError
from vae_core.store import Artifact, Store, digest_of, redact, version_of

DIGEST = digest_of({"inputs": {}, "config": {"a": 1}})
VERSION = version_of(DIGEST)


def make(
    store: Store, kind: str = "models", name: str = "flights", version: str = VERSION, text: str = "x"
) -> Artifact:
    with store.stage(kind, name, version, {"digest": DIGEST, "rows": 3, "config": {"a": 1}}) as folder:
        (folder / "data").mkdir()
        (folder / "data" / "part.txt").write_text(text)
        (folder / "codec.json").write_text("{}")
    found = store.find(kind, name, version)
    assert found is not None
    return found


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def in_small_disk(script: str, options: str) -> subprocess.CompletedProcess[str]:
    """Run `script` with a real tmpfs, mounted with `options`, as its working directory."""
    probe = ["unshare", "-Urm", "true"]
    if sys.platform != "linux" or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs Linux user namespaces to mount a small disk")
    mount = f'd=$(mktemp -d) && mount -t tmpfs -o {options} tmpfs "$d" && cd "$d" && "$0" -c "$1"'
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = ["unshare", "-Urm", "sh", "-c", mount, sys.executable, script]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_new_store_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    assert store.list("models") == [] and store.find("models", "a", "b") is None
    with pytest.raises(ArtifactError, match="has no models"):
        store.open("models", "flights")
    assert not (tmp_path / "s").exists()


def test_what_was_staged_is_found_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = make(store)
    assert (artifact.kind, artifact.name, artifact.version, artifact.digest) == ("models", "flights", VERSION, DIGEST)
    assert artifact.manifest["rows"] == 3 and artifact.manifest["libraries"]["pyarrow"]
    assert set(artifact.manifest["files"]) == {"data/part.txt", "codec.json"}
    assert artifact.verify() == [] and artifact.check() is None
    assert names(artifact.folder.parent) == {f"{VERSION}/{n}" for n in ("data/part.txt", "codec.json", "manifest.json")}


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError), store.stage("models", "m", "v1", {}) as folder:
        (folder / "a").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == set() and store.list("models") == []


@pytest.mark.parametrize("fault", ["changed", "missing", "not in the manifest"])
def test_verify_names_every_fault(tmp_path: Path, fault: str) -> None:
    artifact = make(Store(tmp_path), text="abc")
    path = artifact.folder / "data" / "part.txt"
    if fault == "changed":
        path.write_text("abd")
    elif fault == "missing":
        path.unlink()
    else:
        (artifact.folder / "new").write_text("")
    assert len(artifact.verify()) == 1 and fault in artifact.verify()[0]
    if fault != "not in the manifest":
        with pytest.raises(ArtifactError, match=r"data/part\.txt"):
            artifact.check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a manifest"),
        ('{"format_version": 99}', "newer"),
        ('{"format_version": 1}', "not a whole manifest"),
    ],
)
def test_a_bad_manifest_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    store = Store(tmp_path)
    artifact = make(store)
    (artifact.folder / "manifest.json").write_text(text)
    assert store.find("models", "flights", VERSION) is None
    with pytest.raises(ArtifactError, match=message) as caught:
        store.open("models", str(artifact.folder))
    assert "\n" not in str(caught.value)


def test_a_manifest_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    artifact = make(Store(tmp_path))
    manifest = artifact.manifest | {"files": {"../../x": {"bytes": 0, "sha256": ""}}}
    (artifact.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError):
        Artifact.load(artifact.folder)


def test_a_damaged_artifact_makes_way_for_a_new_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = make(store)
    (artifact.folder / "codec.json").unlink()
    assert store.find("models", "flights", VERSION) is None
    assert make(store).verify() == []


def test_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for version in ("aa11", "aa22", "bb33"):
        make(store, version=version)
    assert store.open("models", "flights").version == "bb33"
    store.set_alias("flights", "champion", "aa22")
    assert store.open("models", "flights").version == "aa22"
    assert store.open("models", "flights@champion").version == "aa22"
    assert store.open("models", "flights@b").version == "bb33"
    assert store.open("models", str(tmp_path / "models" / "flights" / "aa11")).version == "aa11"
    monkeypatch.chdir(tmp_path / "models" / "flights")
    assert store.open("models", "aa11").version == "aa11"
    for reference, message in {
        "flights@aa": "ambiguous",
        "flights@x": "no version",
        "flight": "did you mean 'flights'",
        "./nowhere": "no such artifact",
    }.items():
        with pytest.raises(ArtifactError, match=message):
            store.open("models", reference)
    with pytest.raises(ArtifactError, match="holds models"):
        store.open("datasets", str(tmp_path / "models" / "flights" / "aa11"))
    with pytest.raises(ArtifactError, match="no version"):
        store.set_alias("flights", "champion", "cc")
    assert [a.version for a in store.list("models")] == ["aa11", "aa22", "bb33"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", ".hidden"])
def test_a_name_never_leaves_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        Store(tmp_path).path("models", name, "v")


def test_extend_adds_files_and_keeps_what_others_added(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = make(store), store.open("models", "flights")
    with first.extend("export", {"opset": 20}, {"parity": 0.0}) as one, second.extend("evaluate", {}, {}) as two:
        (one / "decoder.onnx").write_text("graph")
        (two / "metrics.json").write_text("{}")
    artifact = store.open("models", "flights")
    assert artifact.verify() == [] and set(artifact.manifest["stages"]) == {"export", "evaluate"}
    assert artifact.manifest["stages"]["export"]["parity"] == 0.0
    with artifact.extend("evaluate", {"rows": 5}, {}) as folder:
        (folder / "metrics.json").write_text('{"auc": 1}')
    assert store.open("models", "flights").verify() == []
    assert artifact.manifest["stages"]["evaluate"]["config"] == {"rows": 5}


def test_a_failed_extend_changes_nothing(tmp_path: Path) -> None:
    artifact = make(Store(tmp_path))
    before = names(artifact.folder)
    with pytest.raises(ZeroDivisionError), artifact.extend("export", {}, {}) as folder:
        (folder / "codec.json").write_text("other")
        raise ZeroDivisionError
    assert artifact.verify() == [] and names(artifact.folder) == before


RACE = """
import sys, pathlib
from vae_core.store import Store
store = Store(sys.argv[1])
with store.stage("models", "m", "v1", {"digest": "d"}) as folder:
    (folder / "a").write_text(sys.argv[2] * 100_000)
    print("ready", flush=True)
    sys.stdin.read(1)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_that_make_one_version_leave_one_whole_artifact(tmp_path: Path) -> None:
    processes = [start(RACE, str(tmp_path), letter) for letter in "ab"]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("\n", timeout=30)
    assert [process.returncode for process in processes] == [0, 0]
    assert Artifact.load(tmp_path / "models" / "m" / "v1").verify() == []
    assert names(tmp_path / "models" / "m") == {"v1/a", "v1/manifest.json"}


def test_what_a_killed_process_left_is_swept_and_a_living_one_is_not_touched(tmp_path: Path) -> None:
    dead, living = start(RACE, str(tmp_path), "a"), start(RACE, str(tmp_path), "b")
    for process in (dead, living):
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    dead.kill()
    dead.communicate()
    with Store(tmp_path).lock("models", "m"):
        assert len(list((tmp_path / "models" / "m").glob(".staging-*"))) == 1
    living.communicate("\n", timeout=30)
    assert (tmp_path / "models" / "m" / "v1" / "a").read_text().startswith("b")


def test_the_lock_excludes_waits_and_gives_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, taken, free = Store(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock("models", "m"), store.lock("models", "m"):  # the same thread may take it twice
            taken.set()
            free.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    with pytest.raises(BusyError, match="another run"), store.lock("models", "m", timeout=1.2):
        pass
    assert "waiting for another run" in capsys.readouterr().err
    threading.Timer(0.3, free.set).start()
    began = time.monotonic()
    with store.lock("models", "m"):
        assert time.monotonic() - began < 5
    thread.join()


FILL = """
from vae_core.errors import StorageError
from vae_core.store import Store
try:
    with Store("store").stage("models", "m", "v1", {}) as folder:
        (folder / "big").write_bytes(bytes(2_000_000))
except StorageError as error:
    print(error)
import pathlib
assert not [p for p in pathlib.Path("store").rglob("*") if p.is_file()]
"""


@pytest.mark.parametrize(("options", "message"), [("size=1m", "no space left"), ("ro", "read-only")])
def test_a_full_and_a_read_only_disk_give_one_line(options: str, message: str) -> None:
    result = in_small_disk(FILL, options)
    assert message in result.stdout and result.stdout.count("\n") == 1, result.stderr


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(StorageError, match="not a folder"):
        make(Store(tmp_path / "s"))


def test_errors_about_other_files_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Store(tmp_path).stage("snapshots", "s", "v", {}):
        Path("/nowhere/source.csv").read_text()


@given(st.text("abc@:/?#%!", min_size=1), st.sampled_from(["postgresql://me:{}@host/db", "x?password={}"]))
def test_no_password_reaches_a_manifest(secret: str, template: str) -> None:
    if secret.startswith("/") or set(secret) & set("&;") or ("@" in secret and "?" in template):
        return
    token = f"S3cret{secret}"
    assert "S3cret" not in json.dumps(redact({"config": [{"url": template.format(token)}]}))
    assert "S3cret" not in json.dumps(redact({"password": token, "nested": {"api_key": token}}))


def test_redaction_leaves_the_rest_alone() -> None:
    data = {"path": "s3://bucket/a:b@c", "url": "https://host:8080/x?y=1", "n": [1, None, 0.5], "keys": ["a"]}
    assert redact(data) == data
