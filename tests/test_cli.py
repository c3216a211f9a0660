"""The command line as its users meet it: commands in processes of their own, errors in one line, stdout for results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Ended, Finished, command, environment, run, tiny, write
from vae_core.cli import call


def ok(ended: Ended) -> dict[str, object]:
    assert ended.code == 0, ended.err
    return dict(json.loads(ended.out))


def refused(ended: Ended, code: int = 2) -> str:
    """The one line that a refused command says."""
    assert (ended.code, ended.out) == (code, ""), ended
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: ")
    return ended.err


def test_stage_by_stage_from_a_file_to_rows(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "my data.csv", 400)
    snapshot = ok(run("ingest", source, "--json", cwd=tmp_path))
    assert (snapshot["name"], snapshot["rows"]) == ("my-data", 400)
    config = write(tmp_path / "c.yaml", tiny("x", gate={"min_kl": 0.0}))
    model = ok(run("train", "my-data", "--config", config, "--json", cwd=tmp_path))
    reference = f"{model['name']}@{model['version']}"
    ok(run("export", reference, "--json", cwd=tmp_path))
    assert "not published" not in refused(run("generate", "my-data", "--rows", "5", cwd=tmp_path))
    measured = ok(run("evaluate", reference, "--config", config, "--json", cwd=tmp_path))
    assert Path(str(measured["report"])).name == "report.html"
    one = ok(run("generate", "my-data", "--rows", "50", "--seed", "3", "--json", cwd=tmp_path))
    other = ok(
        run(
            "generate",
            "my-data",
            "--rows",
            "50",
            "--seed",
            "3",
            "--output",
            "out",
            "--workers",
            "2",
            "--json",
            cwd=tmp_path,
        )
    )
    part = "part-00000.parquet"
    assert (tmp_path / str(one["path"]) / part).read_bytes() == (tmp_path / "out" / part).read_bytes()
    assert other["path"] == "out"


def write_csv(path: Path, rows: int) -> str:
    lines = ["colour,amount,when"]
    lines += [f"{['red', 'green', 'blue'][i * i % 3]},{i * 7 % 50 / 4},2024-01-{i % 28 + 1:02d}" for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_list_show_and_verify(finished: Finished) -> None:
    store = finished.folder / "artifacts"
    listed = ok(run("list", "--json", "--store", str(store), cwd=finished.folder))["artifacts"]
    assert {entry["kind"] for entry in listed} == {"snapshots", "models", "datasets"}  # type: ignore[attr-defined, index]
    shown = ok(run("show", "models/planes", "--json", cwd=finished.folder))["artifacts"]
    assert shown[0]["manifest"]["stages"].keys() == {"export", "evaluate"}  # type: ignore[index]
    assert "planes@" in run("show", "planes", cwd=finished.folder).out
    assert ok(run("verify", "--json", cwd=finished.folder)) == {"verified": len(listed), "faults": {}}  # type: ignore[arg-type]


def test_prune_says_what_goes_before_it_does(finished: Finished, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished.folder / "artifacts", tmp_path / "artifacts")
    newest = ok(run("generate", "planes", "--rows", "30", "--json", cwd=tmp_path))
    foretold = ok(run("prune", "planes", "--keep", "1", "--dry-run", "--json", cwd=tmp_path))
    done = ok(run("prune", "planes", "--keep", "1", "--json", cwd=tmp_path))
    assert foretold["removed"] == done["removed"]
    left = ok(run("list", "datasets", "--json", cwd=tmp_path))["artifacts"]
    assert [entry["version"] for entry in left] == [newest["version"]]  # type: ignore[attr-defined, index]
    assert "removed: 0 artifacts" in run("prune", cwd=tmp_path).out
    assert "did you mean 'planes'" in refused(run("prune", "plane", cwd=tmp_path))


def test_a_changed_model_is_refused(finished: Finished, tmp_path: Path) -> None:
    import shutil

    store = shutil.copytree(finished.folder / "artifacts", tmp_path / "artifacts")
    decoder = next(store.glob("models/planes/*/decoder.onnx"))
    content = bytearray(decoder.read_bytes())
    content[len(content) // 2] ^= 1
    decoder.write_bytes(bytes(content))
    assert "decoder.onnx" in refused(run("generate", "planes", "--rows", "77", cwd=tmp_path))
    damaged = run("verify", cwd=tmp_path)
    assert (damaged.code, damaged.err.count("\n")) == (2, 1)
    assert "decoder.onnx was changed" in damaged.out
    assert not list(store.glob("datasets/planes/*/part-*.parquet.tmp*"))


def test_generation_imports_neither_torch_nor_prefect_nor_onnx(finished: Finished) -> None:
    script = (
        "import sys; from vae_core.cli import call; code = call(['generate', 'planes', '--rows', '11', '--json']);"
        "print(sorted({'torch', 'prefect', 'onnx', 'sklearn'} & sys.modules.keys()), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=finished.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_start_up_is_short(finished: Finished) -> None:
    def cpu_seconds(*args: str) -> float:
        before = os.times()
        assert run(*args, cwd=finished.folder).code == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    # Processor time, which other work on the machine lengthens less than the clock's.
    assert min(cpu_seconds("--help") for _ in range(2)) < 0.5
    assert min(cpu_seconds("generate", "planes", "--rows", "1000") for _ in range(2)) < 2.0


def test_an_interrupted_command_says_so(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "data.csv", 400)
    ok(run("ingest", source, "--json", cwd=tmp_path))
    env = environment()
    process = subprocess.Popen(
        command("train", "data", "--max-minutes", "5"), cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    models = tmp_path / "artifacts/models/data"
    deadline = time.monotonic() + 60
    while not models.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(2)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("interrupted")
    assert not list(models.glob("*/*"))


def test_an_interrupt_waits_for_the_import_that_would_swallow_it(tmp_path: Path) -> None:
    (tmp_path / "swallowing.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.2)\n"
        "except BaseException:\n    pass\n"
    )
    (tmp_path / "script.py").write_text(
        "import time\nfrom vae_core.cli import app, main\n"
        "@app.command()\ndef wait():\n    import swallowing\n    print('imported', flush=True)\n    time.sleep(5)\n"
        "main(['wait'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 130
    assert ended.stdout == "imported\n"
    assert ended.stderr.strip().startswith("interrupted")


def test_a_text_column_is_named_in_a_note(tmp_path: Path) -> None:
    lines = ["n,remark"] + [f"{i % 9},the {i}th remark of {i * 31 % 97} words or more" for i in range(300)]
    (tmp_path / "notes.csv").write_text("\n".join(lines) + "\n")
    ended = run("ingest", "notes.csv", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert any(line.startswith("note: ") and "remark" in line for line in ended.err.splitlines())


def in_process(capsys: pytest.CaptureFixture[str], *args: str) -> Ended:
    code = call(args)
    shown = capsys.readouterr()
    return Ended(code, shown.out, shown.err)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"a,b\n", "row"),
        (b"a,b\n1,2\n", "row"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 8, "PNG"),
        (b"a,a\n" + b"1,2\n" * 50, "a"),
        (b"a,\n" + b"1,2\n" * 50, "name"),
        (b"a,b\n" + b"1,2\n1,2,3\n" * 50, "row"),
        (b"id\n" + b"".join(b"%032x\n" % (i * 7919) for i in range(300)), "id"),
    ],
    ids=["missing", "empty", "header", "one-row", "binary", "duplicate", "unnamed", "ragged", "identifiers"],
)
def test_bad_input_is_one_line_and_leaves_the_store_clean(
    content: bytes | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    if content is not None:
        Path("data.csv").write_bytes(content)
    ended = in_process(capsys, "ingest", "data.csv")
    assert said in refused(ended)
    assert not list(tmp_path.glob("artifacts/*/*/[!.]*"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Usage"),
        (("rnu", "x.csv"), "No such command 'rnu'"),
        (("run",), "Missing argument"),
        (("run", "x.csv", "--rows", "-1"), "--rows"),
        (("run", "x.csv", "--name", "a/b"), "'a/b'"),
        (("run", "x.csv", "--name", ".."), "'..'"),
        (("run", "none.yaml"), "no such file"),
        (("run", "typo.yaml"), "did you mean 'training'?"),
        (("run", "broken.yaml"), "not YAML"),
        (("generate", "nobody", "--rows", "1"), "no models"),
        (("generate", "../x", "--rows", "1"), "no such artifact"),
        (("show", "nobody"), "nothing named 'nobody'"),
        (("verify", "nobody"), "nothing named 'nobody'"),
        (("list", "pictures"), "pictures"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage_is_one_line_and_writes_nothing(
    args: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    Path("typo.yaml").write_text("source: {path: x.csv}\ntrainning: {seed: 1}\n")
    Path("broken.yaml").write_text("source: [\n")
    ended = in_process(capsys, *args)
    if args:
        assert said in refused(ended)
    else:
        assert (ended.code, ended.err) == (2, "")
        assert said in ended.out
    assert {path.name for path in tmp_path.iterdir()} == {"typo.yaml", "broken.yaml"}


def test_an_unknown_column_in_the_configuration_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    config = {"source": {"path": write_csv(tmp_path / "d.csv", 60)}, "schema": {"columns": {"color": {"drop": True}}}}
    assert "colour" in refused(in_process(capsys, "ingest", write(tmp_path / "c.yaml", config)))


def test_a_store_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    source = write_csv(tmp_path / "d.csv", 60)
    # For root no folder of a disk is read-only; /sys is.
    assert "read-only" in refused(in_process(capsys, "ingest", source, "--store", "/sys/vaesynth"))
    (tmp_path / "artifacts").write_text("")
    assert "not a folder" in refused(in_process(capsys, "ingest", source))


def test_a_missing_extra_is_named_with_its_remedy(tmp_path: Path) -> None:
    """Where only the extra `worker` is installed, there is no Prefect."""
    (tmp_path / "data.csv").write_text("a,b\n" + "1,x\n2,y\n" * 50)
    script = "import sys; sys.modules['prefect'] = None; from vae_core.cli import call; sys.exit(call())"
    process = [sys.executable, "-c", script, "run", "data.csv"]
    done = subprocess.run(process, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    line = refused(Ended(done.returncode, done.stdout, done.stderr))
    assert "this command needs prefect: pip install 'vaesynth[cpu]'" in line
