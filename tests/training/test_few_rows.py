"""Tables of a few rows are learned, sampled and measured like others, if with little to show for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import vae_core as vs
from vae_core.errors import SourceError


@pytest.mark.parametrize("rows", [2, 5, 14, 60])
def test_a_table_of_a_few_rows(rows: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(rows)
    born = pd.Series(pd.Timestamp("1996-06-22") + pd.to_timedelta(np.arange(rows) * 40, unit="D"))
    table = pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "born": born.where(np.arange(rows) % 3 > 0),
            "twins": np.where(np.arange(rows) % 3 > 0, "no", "yes"),
            "class": np.arange(rows) // 2,
            "moment": pd.Timestamp("2002-07-11"),
        }
    )
    model = vs.fit(table, store=tmp_path, training={"max_steps": 25}, progress=False)
    sample = model.sample(100)
    assert list(sample.columns) == list(table.columns)
    assert sample["size"].between(table["size"].min(), table["size"].max()).all()
    assert set(sample["twins"]) <= {"no", "yes"}
    metrics = model.evaluate()
    assert 0 <= metrics["shape_error"]["value"] <= 1
    assert model.report.is_file()


def test_where_everything_would_be_withheld_the_reason_is_said(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": np.arange(8) / 2, "name": [f"x{i}" for i in range(8)]})
    with pytest.raises(SourceError, match=r"nothing to learn from 8 rows.*min_frequency"):
        vs.fit(table, store=tmp_path, progress=False)
