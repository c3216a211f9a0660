"""The figures as people read them."""

from __future__ import annotations

from vae_core.summary import Figure, figure_rows


def test_no_figure_is_less_than_nothing_by_less_than_it_shows() -> None:
    _, row = figure_rows([Figure("utility loss", -1e-9, -0.0312, None, True)])
    assert row[1:4] == ("0.0000", "-0.0312", "–")
