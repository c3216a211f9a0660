"""Variables that say more together are found, and what follows them depends on their combination."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
import torch

from vae_core.codec import Codec
from vae_core.config import SchemaConfig, TrainingConfig
from vae_core.export.decoder import build_decoder
from vae_core.ingest import ingest
from vae_core.model import VAE, Layout, Structure, Variable
from vae_core.model.interactions import interactions
from vae_core.model.sampling import sample
from vae_core.schema import Schema
from vae_core.store import Store
from vae_core.training.stage import encode_snapshot

YEARS, MONTHS, DAYS = 3, 12, 28


def coded(table: pd.DataFrame, folder: Path) -> tuple[Codec, np.ndarray]:
    snapshot = ingest(table, SchemaConfig(), Store(folder), "table")
    schema = Schema.from_dict(json.loads(snapshot.file("schema.json").read_text()))
    codec, codes, _, _ = encode_snapshot(snapshot.folder, schema, TrainingConfig())
    return codec, codes


def dates(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    sizes = {"year": YEARS, "month": MONTHS, "day": DAYS}
    return pd.DataFrame({name: 1 + generator.integers(size, size=rows) for name, size in sizes.items()})


def test_a_day_is_read_with_its_month_and_its_year(tmp_path) -> None:
    generator = np.random.default_rng(0)
    table = dates(20_000, generator)
    weather = generator.integers(5, size=(YEARS + 1, MONTHS + 1, DAYS + 1))[table.year, table.month, table.day]
    table["sky"] = np.where(generator.random(len(table)) < 0.8, weather, generator.integers(5, size=len(table)))
    codec, codes = coded(table, tmp_path)
    names = [sub.name for sub in codec.sub_columns]
    (group,) = interactions(codec, codes)
    assert [names[j] for j in group] == ["year", "month", "day"]
    structure = Structure.learn(codec, codes)
    assert structure.crosses == (None, 0, 1, None)
    assert structure.parents[names.index("sky")] == names.index("day")
    assert structure.in_words(codec) == [("day", "is learned together with year and month")]
    assert Structure.from_metadata(structure.to_metadata(), codec) == structure


def test_what_each_says_by_itself_makes_no_group(tmp_path) -> None:
    generator = np.random.default_rng(0)
    table = dates(20_000, generator)
    warm = (table.month - 6) / 6 + (table.day - 14) / 14 + generator.logistic(size=len(table))
    table["warm"] = np.where(warm > 0, "yes", "no")
    table["any"] = generator.integers(5, size=len(table))
    codec, codes = coded(table, tmp_path)
    assert interactions(codec, codes) == []


def test_coarse_codes_are_crossed_and_fine_ones_stay_within_them(tmp_path) -> None:
    """Of two coordinates each says little of what is found at a place."""
    generator = np.random.default_rng(0)
    table = pd.DataFrame({name: generator.random(20_000) for name in ("x", "y")})
    here = generator.integers(4, size=(8, 8))[(8 * table.x).astype(int), (8 * table.y).astype(int)]
    table["found"] = np.where(generator.random(len(table)) < 0.9, here, generator.integers(4, size=len(table)))
    codec, codes = coded(table, tmp_path)
    names = [sub.name for sub in codec.sub_columns]
    assert names == ["x", "x.fine", "y", "y.fine", "found"]
    structure = Structure.learn(codec, codes)
    assert structure.crosses == (None, None, 0, None, None) and structure.parents == (None, 0, None, 2, 2)
    layout = Layout.from_codec(codec, codes, structure)
    assert [len(v.counts) for v in layout.variables] == [
        1,
        codec.sub_columns[0].size,
        1,
        *layout.sizes[2:3],
        layout.leaves[2],
    ]
    torch.manual_seed(0)
    vae = VAE(layout, TrainingConfig(latent_dim=3, hidden=16), folded=True).eval().requires_grad_(False)
    drawn_alike(vae)


def drawn_alike(vae: VAE) -> None:
    """The graph draws the codes that torch draws."""
    generator, variables = np.random.default_rng(0), len(vae.layout.variables)
    z, u = generator.standard_normal((5_000, 3), np.float32), generator.random((5_000, variables), np.float32)
    graph, _ = build_decoder(vae, [False] * variables, {})
    (codes,) = ort.InferenceSession(graph.SerializeToString()).run(["codes"], {"z": z, "u": u})
    expected, _ = sample(vae.decoder, torch.from_numpy(z), torch.from_numpy(u), torch.zeros(5_000, 0))
    assert (codes == expected.numpy()).all(axis=1).mean() > 0.999


def variable(name: str, size: int, rows: int = 1, **more: Any) -> Variable:
    counts = np.tile(np.arange(1.0, size + 1), (rows, 1))
    every = np.ones((rows, size), bool)
    return Variable(name, size, "categorical", more.pop("parent", None), counts, every, every, **more)


CHAIN = Layout(
    (
        variable("year", 2),
        variable("month", 3, crosses=0),
        variable("between", 3),
        variable("day", 4, crosses=1),
        variable("day.fine", 2, refines=3, parent=3, tied=True, rows=4),
        variable("sky", 3, parent=3, rows=24),
    )
)
LEAVES = [[0], [0, 1], [2], [0, 1, 3], [3, 4], [5]]  # what each is a combination of


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    vae = VAE(CHAIN, TrainingConfig(latent_dim=3, hidden=16), folded=True).eval().requires_grad_(False)
    for parameter in vae.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.5)
    return vae


def test_every_combination_has_an_embedding_of_its_own(vae) -> None:
    rows = torch.tensor(list(itertools.product(*(range(size) for size in CHAIN.sizes))))
    embedded = vae.decoder.rows(rows.T, vae.leaves(rows).T) - torch.from_numpy(CHAIN.offsets)[:, None]
    assert CHAIN.leaves == CHAIN.embedded == [2, 6, 3, 24, 8, 3]
    for j, members in enumerate(LEAVES):
        pairs = torch.unique(torch.column_stack([rows[:, members], embedded[j]]), dim=0)
        assert sorted(pairs[:, -1].tolist()) == list(range(CHAIN.embedded[j]))


def test_a_combination_that_was_never_seen_says_what_its_codes_say() -> None:
    torch.manual_seed(0)
    decoder = VAE(CHAIN, TrainingConfig(latent_dim=3, hidden=16)).decoder
    assert decoder.combinations is not None
    start, rows = int(CHAIN.offsets[3]), CHAIN.embedded[3]
    before = decoder.embeddings()[start : start + rows].view(6, 4, 16)
    assert (before == before[:1]).all()
    with torch.no_grad():
        decoder.combinations[-1] += 1.0
    after = decoder.embeddings()[start : start + rows].view(6, 4, 16)
    assert (after[:5] == before[:5]).all() and (after[5] != before[5]).any()


def test_probabilities_of_all_rows_sum_to_one(vae) -> None:
    rows = torch.tensor(list(itertools.product(*(range(size) for size in CHAIN.sizes))))
    for z in torch.randn(3, 3, generator=torch.Generator().manual_seed(1)):
        leaves = vae.leaves(rows).T.contiguous()
        cost = vae.decoder.nll(z.expand(len(rows), -1), rows.T.contiguous(), leaves, torch.zeros(0, len(rows)))
        assert float(torch.exp(-cost.sum(dim=0)).sum()) == pytest.approx(1.0, abs=1e-5)


def test_the_graph_draws_the_codes_that_torch_draws(vae) -> None:
    drawn_alike(vae)
