"""Fine bins of few rows have little of an embedding of their own; single values have all of it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import torch

from vae_core.codec.leaves import NumericLeaves
from vae_core.config import SchemaConfig, TrainingConfig
from vae_core.ingest import ingest
from vae_core.model import VAE, Layout, Structure
from vae_core.schema import Schema
from vae_core.store import Store
from vae_core.training.stage import encode_snapshot


def test_bins_are_trusted_by_their_rows_and_single_values_as_they_are(tmp_path) -> None:
    generator = np.random.default_rng(0)
    frequent = generator.choice(generator.normal(size=60).round(3), 6_000)
    table = pd.DataFrame({"half": np.where(generator.random(6_000) < 0.5, frequent, generator.normal(size=6_000))})
    table["other"] = generator.integers(3, size=6_000)
    snapshot = ingest(table, SchemaConfig(), Store(tmp_path), "half")
    schema = Schema.from_dict(json.loads(snapshot.file("schema.json").read_text()))
    config = TrainingConfig(hidden=16)
    codec, codes, _, _ = encode_snapshot(snapshot.folder, schema, config)
    layout = Layout.from_codec(codec, codes, Structure.learn(codec, codes))
    decoder = VAE(layout, config).decoder
    ((part, coarse, fine),) = codec.split_parts
    assert isinstance(part.leaves, NumericLeaves) and part.layout is not None
    trust = torch.split(decoder.trust[:, 0], decoder.own)[fine].numpy()
    pair = codes[:, coarse].astype(int) * layout.sizes[fine] + codes[:, fine]
    seen = np.bincount(pair, minlength=len(trust))
    leaf = part.layout.decode([codes[:, coarse], codes[:, fine]])
    exact = np.unique(pair[part.leaves.is_atom(leaf)])
    bins = np.setdiff1d(pair, exact)
    assert len(exact) > 10 and len(bins) > 10
    assert (trust[exact] == 1).all()
    np.testing.assert_allclose(trust[bins], seen[bins] / (seen[bins] + 100), rtol=1e-6)
