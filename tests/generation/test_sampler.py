import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_core.errors import ArtifactError, ConfigError, InputError, MissingDependencyError
from vae_core.generation import BLOCK, Sampler
from vae_core.store import Artifact

shared = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ALONE = """
import json, sys, numpy as np, onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
subs = json.loads(about["sub_columns"])
rng = np.random.default_rng(0)
z = rng.standard_normal((1000, int(about["latent_dim"])), dtype=np.float32)
feeds = {"z": z, "u": rng.random((1000, len(subs)), dtype=np.float32)}
feeds |= {i.name: rng.standard_normal((1000, i.shape[1]), dtype=np.float32) for i in session.get_inputs()[2:]}
codes, position = session.run(["codes", "position"], feeds)
assert codes.shape == (1000, len(subs)) and codes.dtype == np.int32
assert position.shape == (1000, len(json.loads(about["position"])))
assert (codes >= 0).all() and (codes < [sub["size"] for sub in subs]).all()
inside = position[:, [name != "air_time" for name in json.loads(about["position"])]]  # that one is Gaussian
assert (inside >= 0).all() and (inside < 1).all() and np.isfinite(position).all()
assert len(np.unique(codes, axis=0)) > 500
assert not any(name.startswith("vae_core") for name in sys.modules)
"""


def test_rows_come_from_the_graph_with_onnxruntime_and_numpy_alone(model: Artifact, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(model.folder / "decoder.onnx")]
    subprocess.run(command, check=True, cwd=tmp_path, env={"OMP_NUM_THREADS": "1"})


def test_a_sample_has_the_sources_schema(sampler: Sampler, flights: pa.Table) -> None:
    table = sampler.sample(5000, seed=3)
    assert table.schema.equals(flights.schema, check_metadata=True) and table.num_rows == 5000
    table.validate(full=True)
    assert set(table["origin"].to_pylist()) <= set(flights["origin"].to_pylist())
    assert len(set(table["row"].to_pylist())) == 5000
    assert table.to_pandas().dtypes.equals(flights.to_pandas().dtypes)
    assert sampler.sample(0).equals(flights.schema.empty_table())


@given(st.integers(0, 3 * BLOCK), st.integers(1, BLOCK + 700), st.integers(0, 2**64))
@shared
def test_a_row_depends_on_its_number_alone(sampler: Sampler, first: int, rows: int, seed: int) -> None:
    whole = sampler.sample(rows, seed, first)
    cut = rows // 3
    parts = [sampler.sample(cut, seed, first), sampler.sample(rows - cut, seed, first + cut)]
    assert whole.equals(pa.concat_tables(parts).combine_chunks())
    assert whole.equals(pa.Table.from_batches(sampler.batches(rows, seed, first)).combine_chunks())


@pytest.mark.parametrize("batch", [64, 100, 1000, 8192, 100_000])
def test_codes_and_positions_do_not_depend_on_the_batch(sampler: Sampler, model: Artifact, batch: int) -> None:
    noise = sampler.noise(2 * BLOCK, 11)
    ours = Sampler(model, device="cpu", batch_size=batch).decoder.decode(*noise)
    for one, two in zip(ours, sampler.decoder.decode(*noise), strict=True):
        assert np.array_equal(one, two)


def test_rows_do_not_depend_on_the_threads_of_a_session(sampler: Sampler, model: Artifact) -> None:
    assert Sampler(model, device="cpu", threads=3).sample(BLOCK, 5).equals(sampler.sample(BLOCK, 5))


def test_seeds_differ(sampler: Sampler) -> None:
    assert not sampler.sample(100, 1).drop("row").equals(sampler.sample(100, 2).drop("row"))


def test_decode_of_the_prior_is_a_sample(sampler: Sampler) -> None:
    noise = sampler.noise(300, 9)
    assert sampler.decode(noise.z, seed=9).equals(sampler.sample(300, 9))
    assert sampler.decode(noise.z, noise.u, seed=9).equals(sampler.sample(300, 9))


def test_encode_gives_a_posterior(sampler: Sampler, flights: pa.Table) -> None:
    mu, log_var = sampler.encode(flights.slice(0, 3000))
    assert mu.shape == log_var.shape == (3000, sampler.decoder.latent_dim) and np.isfinite(mu).all()
    parts = [sampler.encode(flights.slice(start, 1500))[0] for start in (0, 1500)]
    assert np.array_equal(mu, np.concatenate(parts))


def changed(table: pa.Table, one: int, two: int) -> int:
    first, second = (table.drop("row").slice(i, 1).to_pylist()[0] for i in (one, two))
    return sum(first[name] != second[name] for name in first)


def test_nearby_latents_give_similar_rows(sampler: Sampler) -> None:
    z = sampler.noise(200, 1).z
    tables = [sampler.decode(z + step, seed=4) for step in (0, 1e-3, 1.0)]
    near, far = (
        sum(
            np.sum(tables[0][name].to_numpy(zero_copy_only=False) != other[name].to_numpy(zero_copy_only=False))
            for name in ("month", "origin", "distance", "tailnum")
        )
        for other in tables[1:]
    )
    assert near < far / 10


@pytest.mark.parametrize("spherical", [False, True])
def test_interpolation_starts_and_ends_at_its_rows(sampler: Sampler, flights: pa.Table, spherical: bool) -> None:
    a, b = flights.slice(5, 1), flights.slice(9000, 1)
    path = sampler.interpolate(a, b, 9, seed=2, spherical=spherical)
    assert path.num_rows == 9 and path.schema.equals(flights.schema)
    (mu_a, _), (mu_b, _) = sampler.encode(a), sampler.encode(b)
    _, u, eps = sampler.noise(1, 2)
    ends = sampler.decode(np.concatenate([mu_a, mu_b]), u, seed=2, eps=eps).drop("row")
    assert ends.slice(0, 1).equals(path.drop("row").slice(0, 1)) and ends.slice(1, 1).equals(
        path.drop("row").slice(8, 1)
    )
    same = sampler.interpolate(a.to_pylist()[0], b.to_pylist()[0], 9, seed=2, spherical=spherical)
    assert same.equals(path)
    still = sampler.interpolate(a, a, 3, spherical=spherical)
    assert changed(still, 0, 2) == 0


def test_bad_arguments_give_one_line(sampler: Sampler, flights: pa.Table) -> None:
    width = sampler.decoder.latent_dim
    with pytest.raises(InputError, match="z has shape"):
        sampler.decode(np.zeros((3, width + 1)))
    with pytest.raises(InputError, match="u has shape"):
        sampler.decode(np.zeros((3, width)), np.zeros((2, 1)))
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        sampler.decode(np.zeros((3, width)), np.ones((1, len(sampler.decoder.sub_columns))))
    with pytest.raises(InputError, match="not finite"):
        sampler.decode(np.full((1, width), np.nan))
    with pytest.raises(InputError, match="at least 2"):
        sampler.interpolate(flights.slice(0, 1), flights.slice(1, 1), 1)
    with pytest.raises(InputError, match="one row"):
        sampler.interpolate(flights.slice(0, 2), flights.slice(1, 1))


@pytest.mark.parametrize("file", ["decoder.onnx", "codec.json"])
def test_a_changed_file_is_refused(copy: Artifact, file: str) -> None:
    data = bytearray((copy.folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy.folder / file).write_bytes(data)
    with pytest.raises(ArtifactError, match="was changed"):
        Sampler(copy.folder)


def restamp(artifact: Artifact, file: str, data: bytes) -> Artifact:
    """Change a file and the manifest with it, as a copy from another model would."""
    import hashlib

    (artifact.folder / file).write_bytes(data)
    artifact.manifest["files"][file] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (artifact.folder / "manifest.json").write_text(json.dumps(artifact.manifest))
    return Artifact.load(artifact.folder)


def test_another_codec_is_refused(copy: Artifact) -> None:
    codec = json.loads((copy.folder / "codec.json").read_text())
    codec["schema"]["columns"][0]["reason"] = "other"
    with pytest.raises(ArtifactError, match="another codec"):
        Sampler(restamp(copy, "codec.json", json.dumps(codec).encode()))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_digest", "0" * 64, "another model"),
        ("format_version", "99", "newer"),
        ("latent_dim", None, "not a graph of vaesynth"),
    ],
)
def test_foreign_metadata_is_refused(copy: Artifact, key: str, value: str | None, message: str) -> None:
    import onnx

    graph = onnx.load(copy.folder / "decoder.onnx")
    kept = {p.key: p.value for p in graph.metadata_props} | {key: value}
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {k: v for k, v in kept.items() if v is not None})
    with pytest.raises(ArtifactError, match=message):
        Sampler(restamp(copy, "decoder.onnx", graph.SerializeToString()))


def test_a_graph_that_does_not_load_is_refused(copy: Artifact) -> None:
    with pytest.raises(ArtifactError, match="can't load"):
        Sampler(restamp(copy, "decoder.onnx", b"not a graph"))


def test_a_model_that_was_not_exported_is_refused(copy: Artifact) -> None:
    (copy.folder / "decoder.onnx").unlink()
    del copy.manifest["files"]["decoder.onnx"]
    with pytest.raises(ArtifactError, match="vaesynth export"):
        Sampler(copy)


def test_cuda_is_never_replaced_in_silence(model: Artifact) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigError, match="has no CUDA") as caught:
        Sampler(model, device="cuda")
    assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_message_says_what_to_install(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'vaesynth\[cpu\]'"):
        Sampler(model)


def test_generation_imports_neither_torch_nor_onnx_nor_prefect() -> None:
    heavy = "{'torch', 'onnx', 'prefect', 'onnxruntime', 'sklearn', 'matplotlib'}"
    script = f"import sys, vae_core.generation; sys.exit(str({heavy} & set(sys.modules)).replace('set()', '') or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
