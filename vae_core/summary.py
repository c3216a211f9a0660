"""A run in a few figures: what the terminal, Prefect's pages and `--json` show of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vae_core.config import GateConfig
from vae_core.schema import Kind, Schema
from vae_core.store import Artifact

_WORDS = {
    "shape_error": "shape error",
    "trend_error": "trend error",
    "three_way_error": "three-way error",
    "null_error": "missing share error",
    "two_sample_auc": "two-sample AUC",
    "utility_loss": "utility loss",
    "copy_excess": "exact copies above real",
    "membership_auc": "membership attack AUC",
    "latent_kl": "latent KL (nats, at least)",
}


@dataclass(frozen=True)
class Figure:
    """One quality figure.

    Attributes:
        metric: in words.
        value: what the synthetic rows score; `None` when not defined for this table.
        floor: what other real rows score, the best that can be hoped for; `None` when unknown.
        limit: the gate's threshold; `None` when the gate is off.
        passed: whether the value is within the limit.
    """

    metric: str
    value: float | None
    floor: float | None
    limit: float | None
    passed: bool


def figures(metrics: dict[str, Any], gate: GateConfig) -> list[Figure]:
    """The figures that the gate looks at, from an evaluation's metrics."""
    from vae_core.quality.gate import judge

    target = metrics["utility"].get("target")
    words = _WORDS | {"utility_loss": f"utility loss ({target})"} if target else _WORDS
    return [
        Figure(words[found.metric], found.value, found.floor, found.limit, not found.broken)
        for found in judge(metrics, gate)
    ]


def figure_rows(found: list[Figure]) -> list[tuple[str, str, str, str, str]]:
    """`figures` as the text of a table, with a head."""

    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:z.4f}"

    head = ("", "synthetic", "real rows", "limit", "")
    verdicts = ["" if f.limit is None or f.value is None else "ok" if f.passed else "REFUSED" for f in found]
    return [
        head,
        *(
            (f.metric, text(f.value), text(f.floor), text(f.limit), verdict)
            for f, verdict in zip(found, verdicts, strict=True)
        ),
    ]


def stood(artifact: Artifact, since: datetime, stage: str | None = None) -> bool:
    """Whether a step that began at `since` found its result done already, and skipped the work.

    Args:
        artifact: what the step returned.
        since: with a time zone.
        stage: of a step that adds to a model, its name in the manifest.
    """
    record = artifact.manifest if stage is None else artifact.manifest["stages"][stage]
    return datetime.fromisoformat(record["created"]) < since


def protection_notes(metrics: dict[str, Any]) -> list[str]:
    """What the user should know of how single people are protected: what is off, and what it could not do."""
    from vae_core.quality.protections import warnings

    return warnings(metrics.get("protections"))


def source_notes(snapshot: Artifact) -> list[str]:
    """What the user should know of how the source was read: rows set aside, columns that can't be learned."""
    schema = Schema.from_dict(json.loads(snapshot.file("schema.json").read_text(encoding="utf-8")))
    texts = [column.name for column in schema.columns if column.kind is Kind.TEXT]
    return [
        *schema.notes,
        *(
            f"column {name!r} is free text, which is not learned: it is written as missing (or set its kind)"
            for name in texts
        ),
    ]
