import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from quality_tables import schema_of, shuffled

from vae_core.config import EvaluationConfig, GateConfig
from vae_core.errors import GateRefusedError
from vae_core.quality import assess, check, enforce
from vae_core.quality.gate import judge
from vae_core.quality.measures import Samples, measure
from vae_core.quality.protections import protections
from vae_core.quality.report import render
from vae_core.schema import Kind, Schema

TRAINING = {
    "steps": [0, 100, 200, 300],
    "train_loss": [50.0, 30.0, 25.0, 24.0],
    "holdout_loss": [51.0, 31.0, 26.0, 25.5],
    "kl_curve": [0.0, 2.0, 4.0, 5.0],
    "kl_per_dimension": [2.0, 0.0, 1.5, 0.25],
    "active_units": 3,
    "total_seconds": 12.5,
    "stopped": "steps",
    "explained": 2.5,
    "discriminator": {"auc": 0.6797, "kept": 0.377},
    "laws": [["distance", "follows from origin and dest"]],
}
CONFIG = EvaluationConfig(rows=1_200)


@pytest.fixture(scope="module")
def good(parts: dict[str, pa.Table], flights_schema: Schema) -> dict[str, Any]:
    """Metrics of a generator that is as good as reality: a fresh real sample."""
    return assess(parts["train"], parts["holdout"], parts["fresh"], flights_schema, CONFIG, TRAINING)


@pytest.fixture(scope="module")
def bad(parts: dict[str, pa.Table], flights_schema: Schema) -> dict[str, Any]:
    """Metrics of independent columns."""
    return assess(parts["train"], parts["holdout"], shuffled(parts["fresh"]), flights_schema, CONFIG, TRAINING)


@pytest.fixture(scope="module")
def poor(parts: dict[str, pa.Table], flights_schema: Schema) -> dict[str, Any]:
    """Metrics of independent columns of the flights that were late or cancelled."""
    fresh = parts["fresh"]
    late = fresh.filter(pa.compute.fill_null(pa.compute.greater(fresh["arr_delay"], 0), True))
    return assess(parts["train"], parts["holdout"], shuffled(late), flights_schema, CONFIG, TRAINING)


def test_a_fresh_sample_scores_its_floor(good: dict[str, Any]) -> None:
    for name in ("shape_error", "trend_error"):
        assert good[name]["value"] == pytest.approx(good[name]["floor"], rel=0.25)
        assert good[name]["bootstrap"] < good[name]["floor"]
    assert good["two_sample_auc"]["value"] == pytest.approx(0.5, abs=0.05)
    assert abs(good["utility"]["loss"]) < 0.02
    assert good["copies"] == {"synthetic": 0, "holdout": 0, "unprotected": None}
    assert good["latent"] == {"kl": 3.75, "active_units": 3, "dimensions": 4}
    assert [c["column"] for c in good["left_out"]] == ["year"]
    assert good["protections"] is None and good["privacy"] is None  # nothing is known of the model


def test_metrics_are_json_and_repeatable(parts: dict[str, pa.Table], flights_schema: Schema) -> None:
    small = EvaluationConfig(rows=200)
    tables = (parts["train"][:400], parts["holdout"][:200], parts["fresh"])
    runs = [assess(*tables, flights_schema, small, TRAINING) for _ in range(2)]
    one, two = (json.dumps(m | {"seconds": 0}, allow_nan=False) for m in runs)
    assert one == two


def test_the_floor_is_scaled_when_there_are_fewer_fresh_rows(
    good: dict[str, Any], parts: dict[str, pa.Table], flights_schema: Schema
) -> None:
    few = assess(parts["train"][:1_200], parts["holdout"][:300], parts["fresh"], flights_schema, CONFIG)
    assert few["rows"]["second_sample"] == 750
    assert few["shape_error"]["floor"] == pytest.approx(good["shape_error"]["floor"], rel=0.4)
    assert few["latent"]["kl"] is None


def test_the_gate_passes_the_good_and_refuses_the_bad(good: dict[str, Any], bad: dict[str, Any]) -> None:
    config = GateConfig()
    assert check(good, config) == []
    enforce(good, config)
    violations = {v.metric: v for v in check(bad, config)}
    assert {"two_sample_auc", "utility_loss"} <= set(violations)
    assert violations["utility_loss"].columns == (bad["utility"]["target"],)
    for violation in violations.values():
        line = str(violation)
        assert "\n" not in line
        assert violation.metric in line and f"{violation.value:.4g}" in line and f"{violation.limit:.4g}" in line
    with pytest.raises(GateRefusedError, match="two_sample_auc") as refused:
        enforce(bad, config)
    assert refused.value.exit_code == 3
    assert check(bad, GateConfig(enabled=False)) == []


def test_what_withheld_extremes_cost_is_allowed() -> None:
    """Three engines and four are too rare to be given: that alone moves sdmetrics' bins, however good the rows are."""
    rng = np.random.default_rng(0)
    engines = np.where(rng.random(4_000) < 0.5, 1, 2)
    kind = np.where(engines == 2, "jet", "propeller")
    engines[:3], given = 4, np.minimum(engines, 2)
    given[:3] = 2
    tables = [pa.table({"engines": e, "kind": kind, "seats": engines * 50}) for e in (engines, given)]
    samples = Samples.of(
        tables[0][:3_000], tables[0][3_000:], tables[1][:3_000], schema_of(tables[0]), EvaluationConfig(rows=3_000)
    )
    withheld = {"min_frequency": 5, "min_row_frequency": 1, "rare_rows": 0, "columns": []}
    refused = {}
    for extremes in (1, 5):
        training = TRAINING | {"protections": withheld | {"extremes": extremes}}
        metrics = measure(samples, EvaluationConfig(rows=3_000), training)
        (trend,) = [each for each in judge(metrics, GateConfig()) if each.metric == "trend_error"]
        refused[extremes] = trend.broken
    assert refused == {1: True, 5: False}
    assert "for the extremes that are withheld" in trend.basis


@pytest.mark.parametrize(("match", "said"), [("alike", "like"), ("equal", "equal to")])
def test_the_rule_for_rare_rows_says_what_is_compared(match: str, said: str) -> None:
    found = {"min_frequency": 5, "extremes": 5, "min_row_frequency": 5, "rare_rows": 9, "columns": []}
    rare = next(each for each in protections(found | {"row_match": match}) if each.name == "rare rows")
    assert f"is {said} fewer than 5 rows" in rare.rule and not rare.off


def test_a_refusal_says_what_the_protections_withhold(bad: dict[str, Any]) -> None:
    columns = [
        {"name": "model", "levels": 60, "level_rows": 300, "extreme_rows": 0},
        {"name": "seats", "levels": 0, "level_rows": 0, "extreme_rows": 8},
    ]
    found = {"rare_rows": 900, "columns": columns, "redrawn": {"rows": 1_000, "first": 210, "stayed": 0}}
    metrics = bad | {"protections": found, "rows": bad["rows"] | {"table": 3_000}}
    with pytest.raises(GateRefusedError) as refused:
        enforce(metrics, GateConfig())
    line = str(refused.value)
    assert "21% of its rows" in line and "10% of model" in line and "seats" not in line.split("protections")[1]
    little = found | {"columns": columns[1:], "redrawn": {"rows": 1_000, "first": 2, "stayed": 0}}
    with pytest.raises(GateRefusedError) as refused:
        enforce(metrics | {"protections": little}, GateConfig())
    assert "protections" not in str(refused.value)


@pytest.mark.parametrize(
    ("metric", "config"),
    [
        ("shape_error", {"max_shape_error": 0.0}),
        ("trend_error", {"max_trend_error": 0.0}),
        ("two_sample_auc", {"max_two_sample_auc": 0.5}),
        ("utility_loss", {"max_utility_loss": 0.0}),
        ("null_error", {"max_null_error": 0.0}),
        ("three_way_error", {"max_three_way_error": 0.0}),
        ("three_way_error", {"max_three_way_ratio": 1.5}),
        ("trend_error", {"max_trend_ratio": 1.0}),
        ("latent_kl", {"min_kl": 9.0}),
    ],
)
def test_every_threshold_is_enforced_and_says_where_to_look(
    poor: dict[str, Any], metric: str, config: dict[str, float]
) -> None:
    found = [v for v in check(poor, GateConfig.model_validate(config)) if v.metric == metric]
    assert len(found) == 1
    assert metric == "latent_kl" or found[0].columns


def test_a_ratio_is_of_the_floor_and_the_stricter_threshold_holds(good: dict[str, Any]) -> None:
    def limit(**thresholds: float | None) -> tuple[float | None, str]:
        found = {j.metric: j for j in judge(good, GateConfig.model_validate(thresholds))}["trend_error"]
        return found.limit, found.basis

    floor = good["trend_error"]["floor"]
    assert limit() == (pytest.approx(3 * floor), f"3 × the noise floor {floor:.4g}")
    assert limit(max_trend_error=0.01) == (0.01, "")
    assert limit(max_trend_error=0.99)[0] == limit()[0]
    assert limit(max_trend_ratio=None) == (None, "")
    assert limit(enabled=False) == (None, "")
    unknown = good | {"trend_error": good["trend_error"] | {"floor": None, "value": 1.0}}
    assert check(unknown, GateConfig()) == []
    tiny = good | {"null_error": good["null_error"] | {"floor": 0.0, "value": 0.01}}
    assert check(tiny, GateConfig()) == []  # nothing is held against a floor of 0


def test_copies_beyond_those_of_real_rows_are_refused(parts: dict[str, pa.Table], flights_schema: Schema) -> None:
    metrics = assess(parts["train"], parts["holdout"], parts["train"][:1_500], flights_schema, CONFIG)
    assert metrics["copies"]["synthetic"] == 1
    assert metrics["dcr"]["share"] > 0.7
    assert {"copy_excess", "membership_auc"} <= {v.metric for v in check(metrics, GateConfig())}


class Page(HTMLParser):
    """Tags and text of a page, and that every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = "<script>alert(1)</script>\"'&$x_1$"


def hostile_page() -> str:
    generator = np.random.default_rng(0)
    n = 600
    table = pa.table(
        {
            HOSTILE: generator.normal(size=n),
            "</svg><img src=http://evil/x>": pa.array(generator.choice([HOSTILE, "b", ""], n)),
            "when": pa.array(generator.integers(0, 10**9, n)).cast(pa.timestamp("s")),
            "many": pa.array(generator.integers(0, 10**6, n).astype(str)),
            "zeros": np.where(generator.random(n) < 0.8, 0, generator.integers(1, 1000, n)),
            "id " + HOSTILE: np.arange(n),
        }
    )
    schema = schema_of(table, **{"id " + HOSTILE: Kind.IDENTIFIER})
    samples = Samples.of(table[:300], table[300:500], table[300:], schema, EvaluationConfig(rows=300))
    metrics = measure(samples, EvaluationConfig(rows=300, target=table.column_names[1]), TRAINING)
    return render(
        metrics,
        samples.real,
        samples.synthetic,
        title=HOSTILE,
        training=TRAINING | {"stopped": HOSTILE, "laws": [[HOSTILE, HOSTILE]]},
        provenance={HOSTILE: HOSTILE},
        judgements=judge(metrics, GateConfig(max_shape_error=0.0)),
    )


def test_the_report_loads_nothing_and_escapes_names_and_values() -> None:
    text = hostile_page()
    page = Page(text)
    assert page.open == []
    assert {"script", "img", "link", "iframe", "object"}.isdisjoint({tag for tag, _ in page.tags})
    for _, attributes in page.tags:
        assert {"src", "xlink:href", "onload", "onclick"}.isdisjoint(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import", text)
    assert HOSTILE in page.text


def test_the_report_shows_every_part(good: dict[str, Any], parts: dict[str, pa.Table], flights_schema: Schema) -> None:
    samples = Samples.of(parts["train"], parts["holdout"], parts["fresh"], flights_schema, CONFIG)
    page = Page(
        render(
            good,
            samples.real,
            samples.synthetic,
            title="flights@1",
            training=TRAINING,
            judgements=judge(good, GateConfig()),
        )
    )
    assert "The gate passes" in page.text and "follows from origin and dest" in page.text
    assert "AUC of 0.680; 38 % are kept" in page.text
    for feature in samples.real.features:
        assert feature.name in page.text
    figures = [tag for tag, _ in page.tags].count("figure")
    # every column, every pair, and the loss, the KL, the KL of each dimension
    assert figures == len(samples.real.features) + len(good["trend_error"]["pairs"]) + 3
    assert "year" in page.text  # left out, and said so
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    led_to = {attributes["href"] for _, attributes in page.tags if "href" in attributes}
    assert {f"#{id}" for id in ids if id.startswith("pair-")} <= led_to <= {f"#{id}" for id in ids}


def test_a_table_of_one_column_has_a_report() -> None:
    table = pa.table({"x": np.random.default_rng(0).normal(size=400)})
    samples = Samples.of(table[:200], table[200:300], table[300:], schema_of(table), EvaluationConfig(rows=100))
    metrics = measure(samples, EvaluationConfig(rows=100))
    assert metrics["trend_error"]["value"] is None and metrics["utility"]["metric"] is None
    assert check(metrics, GateConfig(max_shape_error=1)) == []
    assert "No pair of columns" in render(metrics, samples.real, samples.synthetic, title="one")
    private = metrics | {"privacy": {"epsilon": 3.987, "delta": 1e-5}}
    assert "ε = <strong>3.99</strong>, δ = 1e-05" in render(private, samples.real, samples.synthetic, title="one")
