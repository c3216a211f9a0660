"""onnxruntime computes what torch computes, and needs neither torch nor this project for it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.stats import kstest

from vae_core.codec import Codec
from vae_core.config import CodecConfig, SchemaConfig, TrainingConfig
from vae_core.errors import ArtifactError
from vae_core.export import export
from vae_core.export.decoder import build_decoder
from vae_core.export.encoder import build_encoder
from vae_core.export.parity import measure
from vae_core.export.stage import batch_size, load_model
from vae_core.generation import Sampler
from vae_core.model import VAE, Layout, Variable
from vae_core.model.likelihoods import Categorical
from vae_core.model.sampling import sample
from vae_core.store import Artifact, LocalPlace, Store
from vae_core.training import train


@pytest.fixture(scope="module")
def model(planes, tmp_path_factory) -> Artifact:
    config = TrainingConfig(max_steps=150, hidden=32, latent_dim=4, device="cpu", codec=CodecConfig(max_leaves=64))
    return export(train(planes, config, Store(tmp_path_factory.mktemp("store")), "planes"))


@pytest.fixture(scope="module")
def codec(model) -> Codec:
    return Codec.from_dict(json.loads(model.file("codec.json").read_text()))


def noise(codec: Codec, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, 4), np.float32)
    return {"z": z, "u": rng.random((rows, len(codec.sub_columns)), np.float32)}


def test_parity_is_measured_and_stored(model):
    parity = model.manifest["stages"]["export"]["parity"]
    assert parity["equal_rows"] > 0.999
    assert parity["max_logit_difference"] < 1e-4
    assert parity["max_posterior_difference"] < 1e-4


def test_weights_of_an_earlier_version_are_refused_in_one_line(model, codec, tmp_path):
    """Such as those of a decoder whose heads had no layer of their own."""
    shutil.copytree(model.folder, tmp_path / "old")
    with safe_open(model.file("weights.safetensors"), "pt") as weights:
        kept = {name: weights.get_tensor(name) for name in weights.keys() if "inner" not in name}  # noqa: SIM118
        save_file(kept, tmp_path / "old/weights.safetensors", weights.metadata())
    with pytest.raises(ArtifactError, match="of another version"):
        load_model(Artifact(LocalPlace(tmp_path / "old"), model.manifest), codec)


def test_decoder_draws_the_codes_that_torch_draws(model, codec):
    feeds = noise(codec, 5_000)
    found, position = ort.InferenceSession(model.file("decoder.onnx")).run(["codes", "position"], feeds)
    vae = load_model(model, codec)
    expected, _ = sample(vae.decoder, *(torch.from_numpy(feeds[k]) for k in "zu"), torch.zeros(5_000, 0))
    assert (found == expected.numpy()).all(axis=1).mean() > 0.999
    assert ((position >= 0) & (position < 1)).all()


@pytest.mark.parametrize("factor", [10.0, 1000.0])
def test_a_very_sure_decoder_still_draws_possible_codes(model, codec, factor):
    """Unnormalised probabilities over dozens of orders of magnitude are drawn from exactly; over hundreds, somehow."""
    vae = load_model(model, codec)
    for head in vae.decoder.heads.values():
        head.weight.data *= factor
    graph, _ = build_decoder(vae, [sub.position for sub in codec.sub_columns], {})
    feeds = noise(codec, 20_000)
    feeds["u"][:1_000] = 0.0
    (codes,) = ort.InferenceSession(graph.SerializeToString()).run(["codes"], feeds)
    assert (codes >= 0).all() and (codes < [sub.size for sub in codec.sub_columns]).all()
    if factor < 100:
        expected, _ = sample(vae.decoder, *(torch.from_numpy(feeds[k]) for k in "zu"), torch.zeros(20_000, 0))
        assert (codes == expected.numpy()).all(axis=1).mean() > 0.995


def test_rounding_alone_refuses_no_table_of_many_columns():
    """Each draw may fall on the other side of a boundary by rounding: a row of 300 of them does a few times in 100."""
    rng = np.random.default_rng(0)
    variables = [
        Variable(f"v{j}", 24, "categorical", None, rng.integers(1, 99, (1, 24)) * 1.0, *np.ones((2, 1, 24), bool))
        for j in range(300)
    ]
    torch.manual_seed(0)
    vae = VAE(Layout(tuple(variables)), TrainingConfig(latent_dim=4, hidden=16), folded=True).eval()
    decoder, logits = build_decoder(vae, [False] * 300, {})
    parity = measure(vae, decoder, build_encoder(vae, {}), logits)
    assert 0.9 < parity["equal_rows"] < 0.995 and parity["max_logit_difference"] < 1e-4


@pytest.mark.parametrize(
    "allowed",
    [
        ["0111", "0111"],  # never the first
        ["1101", "1101"],  # never one between
        ["1111", "1000"],  # the first ones, of some parents
        ["0111", "0100"],
        ["0101", "1010"],  # anything
    ],
)
def test_codes_that_are_forbidden_never_come_at_any_u(allowed):
    """And the others are drawn as torch draws them; which operators leave codes out depends on where they stand."""
    rng = np.random.default_rng(0)
    mask = np.array([[digit == "1" for digit in row] for row in allowed])
    parent = Variable("a", 2, "categorical", None, np.ones((1, 2)), *np.ones((2, 1, 2), bool))
    child = Variable("b", 4, "categorical", 0, rng.integers(1, 9, (2, 4)) * 1.0, np.ones((2, 4), bool), mask, tied=True)
    torch.manual_seed(0)
    vae = VAE(Layout((parent, child)), TrainingConfig(latent_dim=4, hidden=16), folded=True).eval()
    for head in vae.decoder.heads.values():
        head.weight.data *= 30
    u = rng.random((4_000, 2), np.float32)
    u[:1_000, 1], u[1_000:2_000, 1] = 0.0, np.float32(1 - 2**-24)
    feeds = {"z": rng.standard_normal((4_000, 4), np.float32), "u": u}
    graph, _ = build_decoder(vae, [False] * 2, {})
    (codes,) = ort.InferenceSession(graph.SerializeToString()).run(["codes"], feeds)
    assert mask[codes[:, 0], codes[:, 1]].all()
    expected, _ = sample(vae.decoder, *(torch.from_numpy(feeds[k]) for k in "zu"), torch.zeros(4_000, 0))
    assert (codes == expected.numpy()).all(axis=1).mean() > 0.995


def test_what_is_added_to_all_logits_changes_no_code(model, codec):
    """Nothing in training keeps their level where float32 has room for exponentials."""
    vae = load_model(model, codec)
    feeds = noise(codec, 20_000)
    tensors = [torch.from_numpy(feeds[k]) for k in "zu"]
    expected, _ = sample(vae.decoder, *tensors, torch.zeros(20_000, 0))
    drift = torch.Generator().manual_seed(0)
    for head in vae.decoder.heads.values():
        if type(head) is Categorical:
            head.weight.data += 40 * torch.randn(*head.weight.shape[:2], 1, generator=drift)
    totals = torch.logsumexp(sample(vae.decoder, *tensors, torch.zeros(20_000, 0))[1][-1], dim=1)
    assert totals.max() - totals.min() > 200
    graph, _ = build_decoder(vae, [sub.position for sub in codec.sub_columns], {})
    (codes,) = ort.InferenceSession(graph.SerializeToString()).run(["codes"], feeds)
    assert (codes == expected.numpy()).all(axis=1).mean() > 0.995


@pytest.mark.parametrize("allowed", [["0001", "1110"], ["1000", "0111"], ["0100", "1011"]])
def test_a_code_that_is_known_is_drawn_whatever_its_logit(allowed):
    """Where its parent allows no other, training doesn't care for it."""
    rng = np.random.default_rng(0)
    mask = np.array([[digit == "1" for digit in row] for row in allowed])
    parent = Variable("a", 2, "categorical", None, np.ones((1, 2)), *np.ones((2, 1, 2), bool))
    child = Variable("b", 4, "categorical", 0, rng.integers(1, 9, (2, 4)) * 1.0, np.ones((2, 4), bool), mask, tied=True)
    torch.manual_seed(0)
    vae = VAE(Layout((parent, child)), TrainingConfig(latent_dim=4, hidden=16), folded=True).eval()
    head, member = vae.decoder.head(1)
    head.weight.data[member, :, allowed[0].index("1")] *= 3_000
    feeds = {"z": rng.standard_normal((4_000, 4), np.float32), "u": rng.random((4_000, 2), np.float32)}
    expected, logits = sample(vae.decoder, *(torch.from_numpy(feeds[k]) for k in "zu"), torch.zeros(4_000, 0))
    assert logits[1][expected[:, 0] == 0].max(dim=1).values.abs().max() > 100
    graph, _ = build_decoder(vae, [False] * 2, {})
    (codes,) = ort.InferenceSession(graph.SerializeToString()).run(["codes"], feeds)
    assert mask[codes[:, 0], codes[:, 1]].all()
    assert (codes == expected.numpy()).all(axis=1).mean() > 0.995


def test_no_exponential_is_below_the_normal_numbers(model, codec):
    """Processors take ten times as long with subnormal numbers, and onnxruntime comes by them below exp(-87)."""
    graph = onnx.load(model.file("decoder.onnx"))
    exponents = [node.input[0] for node in graph.graph.node if node.op_type == "Exp"]
    assert exponents
    graph.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in exponents
    )
    for value in ort.InferenceSession(graph.SerializeToString()).run(exponents, noise(codec, 5_000)):
        assert value.min() > -87


def test_no_random_node_and_dynamic_rows(model, codec):
    graph = onnx.load(model.file("decoder.onnx")).graph
    assert not any("Random" in node.op_type or node.op_type == "Multinomial" for node in graph.node)
    session = ort.InferenceSession(model.file("decoder.onnx"))
    for rows in (1, 7, 1000):
        assert session.run(["codes"], noise(codec, rows))[0].shape == (rows, len(codec.sub_columns))


def test_the_same_noise_gives_the_same_codes_and_forbidden_codes_never_come(model, codec):
    session = ort.InferenceSession(model.file("decoder.onnx"))
    feeds = noise(codec, 20_000)
    feeds["u"][:100] = np.float32(1 - 2**-24)  # the largest uniform number there is
    feeds["u"][100:200] = 0.0
    codes = session.run(["codes"], feeds)[0]
    np.testing.assert_array_equal(codes, session.run(["codes"], feeds)[0])
    for j, sub in enumerate(codec.sub_columns):
        allowed = np.ones((1, sub.size), bool) if sub.allowed is None else np.asarray(sub.allowed).reshape(-1, sub.size)
        row = np.zeros(len(codes), int) if sub.parent is None else codes[:, sub.parent]
        assert allowed[row, codes[:, j]].all(), sub.name


def test_positions_are_uniform_whatever_the_code(model, codec):
    """The lower bits of u say nothing of the code that its upper bits chose, nor of another variable's position."""
    feeds = noise(codec, 100_000)
    codes, position = ort.InferenceSession(model.file("decoder.onnx")).run(["codes", "position"], feeds)
    columns = [j for j, sub in enumerate(codec.sub_columns) if sub.position]
    for p, j in enumerate(columns):
        for code in np.flatnonzero(np.bincount(codes[:, j]) > 2_000):
            assert kstest(position[codes[:, j] == code, p], "uniform").pvalue > 1e-4
        assert len(np.unique(position[:, p])) > 0.99 * len(position)
    assert np.abs(np.corrcoef(position.T) - np.eye(len(columns))).max() < 0.02


def test_code_grows_with_u(model, codec):
    """The codes of a row are in the order of u: the inverse of the cumulative distribution."""
    session = ort.InferenceSession(model.file("decoder.onnx"))
    for j in range(len(codec.sub_columns)):
        feeds = {key: np.repeat(value[:1], 501, axis=0) for key, value in noise(codec, 1).items()}
        feeds["u"][:, j] = np.linspace(0, 0.9999, 501, dtype=np.float32)
        assert (np.diff(session.run(["codes"], feeds)[0][:, j]) >= 0).all()


def test_rows_from_onnxruntime_and_numpy_alone(model, tmp_path):
    """What anyone can do with decoder.onnx: no torch, no onnx, nothing of this project."""
    script = tmp_path / "alone.py"
    script.write_text(
        f"""
import json, sys
import numpy as np, onnxruntime as ort
session = ort.InferenceSession({str(model.file("decoder.onnx"))!r})
columns = json.loads(session.get_modelmeta().custom_metadata_map["sub_columns"])
rng = np.random.default_rng(0)
feeds = {{i.name: (rng.standard_normal if i.name == "z" else rng.random)((1000, i.shape[1])).astype("f4")
         for i in session.get_inputs()}}
codes = session.run(["codes"], feeds)[0]
assert codes.shape == (1000, len(columns))
assert (codes >= 0).all() and (codes.max(axis=0) < [c["size"] for c in columns]).all()
assert len(np.unique(codes, axis=0)) > 200  # 1,000 real aeroplanes have 336
assert not [m for m in sys.modules if m.split(".")[0] in ("torch", "onnx", "vae_core", "flows")]
print("rows", len(codes))
"""
    )
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "rows 1000", done.stderr


def test_metadata_names_model_and_codec(model, codec):
    for name in ("decoder.onnx", "encoder.onnx"):
        metadata = ort.InferenceSession(model.file(name)).get_modelmeta().custom_metadata_map
        assert metadata["model_digest"] == model.digest
        assert metadata["codec_digest"] == codec.digest
        assert [c["name"] for c in json.loads(metadata["sub_columns"])] == [s.name for s in codec.sub_columns]


def test_a_decoder_says_how_many_rows_fit_into_the_cache(model):
    said = {p.key: p.value for p in onnx.load(model.file("decoder.onnx")).metadata_props}["batch_size"]
    assert Sampler(model, device="cpu").decoder.batch == int(said) == batch_size(32)
    assert Sampler(model, device="cpu", batch_size=100).decoder.batch == 100
    assert [batch_size(hidden) for hidden in (8, 128, 129, 256, 257, 4096)] == [1024, 1024, 512, 512, 256, 256]


def test_gaussian_columns_read_a_third_input(tmp_path):
    from sklearn.datasets import load_wine

    from vae_core.ingest import ingest

    frame = load_wine(as_frame=True).frame
    frame.loc[frame.index[:40], "alcohol"] = np.nan
    overrides = SchemaConfig.model_validate(
        {"columns": {name: {"likelihood": "gaussian"} for name in ("alcohol", "hue")}}
    )
    snapshot = ingest(frame, overrides, Store(tmp_path), "wine")
    model = export(train(snapshot, TrainingConfig(max_steps=100, hidden=32, device="cpu"), Store(tmp_path), "wine"))
    session = ort.InferenceSession(model.file("decoder.onnx"))
    assert {i.name: i.shape[1] for i in session.get_inputs()}["eps"] == 2
    assert model.manifest["stages"]["export"]["parity"]["equal_rows"] > 0.999


def test_changed_weights_are_refused(planes, tmp_path):
    config = TrainingConfig(max_steps=20, hidden=8, latent_dim=2, device="cpu", codec=CodecConfig(max_leaves=16))
    model = train(planes, config, Store(tmp_path), "planes")
    path = model.file("weights.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="changed on disk"):
        export(model)


def test_standing_export_is_kept(model):
    before = model.file("decoder.onnx").stat().st_mtime_ns
    assert export(model).file("decoder.onnx").stat().st_mtime_ns == before
