"""What the report doesn't look at, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def omissions(metrics: Mapping[str, Any], max_drawn: int, max_pairs: int) -> list[tuple[str, str]]:
    """What was left out and the reason; columns first.

    Args:
        metrics: of `assess`.
        max_drawn: columns that the report draws.
        max_pairs: pairs that it draws.
    """
    found = [(f"column {left['column']}", left["reason"]) for left in metrics["left_out"]]
    rows, trend, triples = metrics["rows"], metrics["trend_error"], metrics["three_way_error"]
    columns, dcr, attack = len(metrics["shape_error"]["columns"]), metrics["dcr"], metrics["membership"]
    trees = metrics["two_sample_auc"]["rows"]
    if rows["compared"] < rows["train"]:
        found.append(
            (
                f"{rows['table'] - rows['compared']:,} of {rows['table']:,} real rows",
                f"a random sample of {rows['compared']:,} training rows is compared (evaluation.rows): what that adds "
                "to an error by chance is its noise floor, which is measured on samples of this size",
            )
        )
    if trees < rows["compared"]:
        found.append((f"all but {trees:,} rows of each side, for the classifier", "to bound the time on wide tables"))
    if (counted := len(trend["pairs"])) < trend["pairs_total"]:
        found.append(
            (
                f"{trend['pairs_total'] - counted:,} of {trend['pairs_total']:,} pairs",
                "not defined (a column of a single value), or beyond the joint tables that are counted; "
                "the mean is that of a random sample of them",
            )
        )
    if triples["triples_counted"] < triples["triples_total"]:
        found.append(
            (
                f"{triples['triples_total'] - triples['triples_counted']:,} of {triples['triples_total']:,} triples",
                f"a random sample of {triples['triples_counted']:,} is counted, which leaves the mean uncertain by "
                f"± {100 * triples['interval']:.2f} points",
            )
        )
    if columns > max_drawn:
        found.append((f"drawings of {columns - max_drawn:,} columns", "those nearest to their noise floor"))
    if len(trend["pairs"]) > max_pairs:
        found.append((f"drawings of {len(trend['pairs']) - max_pairs:,} pairs", "those nearest to their noise floor"))
    if dcr["reference"] < rows["train"]:
        found.append(
            (
                f"all but {dcr['reference']:,} training rows for distances, {attack['members']:,} for the attack",
                "as many as there are held-out rows, and few enough for the time: shares and AUC have their 95 % "
                "interval beside them",
            )
        )
    return found
