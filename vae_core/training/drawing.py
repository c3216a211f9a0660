"""Rows that a model in training draws, as codes and positions: what `Codec.decode` takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from vae_core.codec import Codec
from vae_core.model import VAE
from vae_core.model.sampling import Ancestral

_CHUNK = 8192

_Floats = npt.NDArray[np.float32]


@torch.no_grad()
def draw(
    model: VAE, codec: Codec, rows: int, generator: torch.Generator, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int32], _Floats]:
    """Codes int32 [rows, sub-columns] and positions of rows that the decoder draws, as `Codec.decode` takes them."""
    codes = np.empty((rows, len(codec.sub_columns)), np.int32)
    values = np.empty((rows, len(model.layout.gaussians)), np.float32)
    for start in range(0, rows, _CHUNK):
        n = min(_CHUNK, rows - start)
        draws = Ancestral(model.decoder, torch.randn(n, model.latent_dim, generator=generator))
        u = torch.rand(n, codes.shape[1], generator=generator)
        eps = torch.randn(n, values.shape[1], generator=generator)
        for j in range(codes.shape[1]):
            draws.draw(u[:, j], eps)
        codes[start : start + n] = torch.stack(draws.codes, dim=1).numpy()
        if draws.values:
            values[start : start + n] = torch.stack(draws.values, dim=1).numpy()
    return codes, positions(codec, values, rng)


def positions(codec: Codec, values: _Floats, rng: np.random.Generator) -> _Floats:
    """Where inside their codes rows lie, float32 [n, positions]: anywhere; of Gaussian sub-columns `values` [n, G]."""
    positions: _Floats = rng.random((len(values), codec.positions), dtype=np.float32)
    placed = [sub for sub in codec.sub_columns if sub.position or sub.gaussian]
    positions[:, [k for k, sub in enumerate(placed) if sub.gaussian]] = values
    return positions
