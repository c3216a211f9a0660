"""What was done against showing single people, in words: for the report and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Protection:
    """One of them.

    Attributes:
        name: what is protected.
        rule: what is never given; what may be, where it is off.
        effect: what that withheld of this table.
        off: whether it is turned off.
    """

    name: str
    rule: str
    effect: str
    off: bool


def protections(found: Mapping[str, Any] | None) -> list[Protection]:
    """All of them, from the metrics' `protections`; none where training did not record them."""
    if found is None:
        return []
    levels, extremes, rows = found["min_frequency"], found["extremes"], found["min_row_frequency"]
    pooled = [column for column in found["columns"] if column["levels"]]
    beyond = [column for column in found["columns"] if column["extreme_rows"]]
    return [
        Protection(
            "rare levels",
            f"a level of fewer than {levels} rows is never given" if levels > 1 else "levels of a single row are given",
            _counted(sum(c["levels"] for c in pooled), "level")
            + f" of {_counted(sum(c['level_rows'] for c in pooled), 'row')}, in {_counted(len(pooled), 'column')}",
            levels == 1,
        ),
        Protection(
            "extremes",
            f"the {extremes - 1} smallest and largest numbers of a column are given only where more rows have them"
            if extremes > 1
            else "a column's smallest and largest value are given",
            _counted(sum(c["extreme_rows"] for c in beyond), "value") + f", in {_counted(len(beyond), 'column')}",
            extremes == 1,
        ),
        Protection(
            "rare rows",
            _of_rows(found) if rows > 1 else "copies of single rows are given",
            _counted(found["rare_rows"], "row") + _redrawn(found.get("redrawn")),
            rows == 1,
        ),
    ]


def warnings(found: Mapping[str, Any] | None) -> list[str]:
    """What the user should know: what is off, and what it could not do."""
    notes = [f"protection of {each.name} is off: {each.rule}" for each in protections(found) if each.off]
    if found and (stayed := (found.get("redrawn") or {}).get("stayed")):
        notes.append(
            f"{stayed:,} of {found['redrawn']['rows']:,} rows were like rare rows of the table however often they were "
            "drawn: it has hardly any other possible rows (fewer columns, or more rows, would help)"
        )
    return notes


def _of_rows(found: Mapping[str, Any]) -> str:
    rows = found["min_row_frequency"]
    if found.get("row_match") == "equal":
        return f"a row that is equal to fewer than {rows} rows of the table in every column is drawn again"
    return f"a row that is like fewer than {rows} rows of the table in every column is drawn again"


def _redrawn(found: Mapping[str, Any] | None) -> str:
    if not found or not found["rows"]:
        return ""
    stayed = f", {found['stayed'] / found['rows']:.2%} stayed after all attempts" if found["stayed"] else ""
    return f"; {found['first'] / found['rows']:.2%} of the rows made were drawn again{stayed}"


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
