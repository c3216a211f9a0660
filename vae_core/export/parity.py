"""Measures that onnxruntime computes what torch computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import helper

from vae_core.errors import TrainingError
from vae_core.export.builder import FLOAT
from vae_core.model import VAE
from vae_core.model.sampling import sample

ROWS = 4096
TINY = np.float32(1e-37)
NEVER = 25.0  # nats below the likeliest code: none of 2³⁶ rows has such a one
MAX_LOGIT_DIFFERENCE = 1e-3
# A draw within a rounding error of a boundary between two codes may fall on the other side of it. Where a row has many
# boundaries, more rows do: a share of about 7e-6 for each code was measured on tables of 500 columns and 50,000 levels.
MAX_UNEQUAL_ROWS = 0.005
MAX_UNEQUAL_PER_CODE = 2.5e-5


def measure(model: VAE, decoder: onnx.ModelProto, encoder: onnx.ModelProto, logits: list[str]) -> dict[str, Any]:
    """Run both sides on fresh noise.

    Args:
        model: the torch side, in evaluation mode.
        decoder: its exported decoder.
        encoder: its exported encoder.
        logits: names of the values in `decoder` that hold each variable's logits; of a located one their exponentials.

    Returns:
        `max_logit_difference` over possible codes in rows drawn alike, `equal_rows` (share of rows whose codes are all
        equal), `max_posterior_difference` of μ and log σ².

    Raises:
        TrainingError: the two sides differ by more than rounding.
    """
    generator = torch.Generator().manual_seed(20)
    layout = model.layout
    z = torch.randn(ROWS, model.latent_dim, generator=generator)
    u = torch.rand(ROWS, len(layout.variables), generator=generator)
    eps = torch.randn(ROWS, len(layout.gaussians), generator=generator)
    codes, expected = sample(model.decoder, z, u, eps)

    exposed = onnx.ModelProto()
    exposed.CopyFrom(decoder)
    exposed.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in logits)
    feeds = {"z": z.numpy(), "u": u.numpy()} | ({"eps": eps.numpy()} if layout.gaussians else {})
    names = ["codes", *logits]
    drawn, *found = _session(exposed).run(names, feeds)

    same = (drawn == codes.numpy()).all(axis=1)
    difference = max(
        float(_difference(f, e.numpy(), variable.likelihood)[same].max(initial=0.0))
        for variable, f, e in zip(layout.variables, found, expected, strict=True)
    )
    mu, log_var = _session(encoder).run(["mu", "log_var"], {"codes": drawn})
    with torch.no_grad():
        mu_torch, log_var_torch = model.encoder(torch.from_numpy(drawn).long())
    posterior = max(float(np.abs(mu - mu_torch.numpy()).max()), float(np.abs(log_var - log_var_torch.numpy()).max()))
    result = {
        "rows": ROWS,
        "max_logit_difference": difference,
        "equal_rows": float(same.mean()),
        "max_posterior_difference": posterior,
    }
    unequal = max(MAX_UNEQUAL_ROWS, MAX_UNEQUAL_PER_CODE * sum(layout.sizes))
    if max(difference, posterior) > MAX_LOGIT_DIFFERENCE or 1 - result["equal_rows"] > unequal:
        raise TrainingError(f"the exported ONNX graphs differ from torch: {result}")
    return result


def _difference(
    found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], likelihood: str
) -> npt.NDArray[np.float32]:
    """|found - expected| [n, size] over possible codes; of a law over codes relative to the likeliest one."""
    if likelihood == "located":
        found = np.log(np.maximum(found, TINY))
        # Far from a sharp peak its logarithm is large, and never drawn.
        expected = np.where(expected > expected.max(axis=1, keepdims=True) - NEVER, expected, -1e9)
    difference = np.where(expected < -1e8, 0, found - expected)
    if likelihood in ("categorical", "located"):
        difference -= np.take_along_axis(difference, expected.argmax(axis=1, keepdims=True), axis=1)
        difference[expected < -1e8] = 0
    return np.abs(difference)


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
