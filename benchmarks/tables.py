"""The tables of the fidelity benchmark: a folder for each, with a description in JSON.

The description is `table.json` in the table's folder, or the one in `descriptions/` that is named as the folder:

    name         in results, and in published.json; the folder's name when not given
    file         CSV or Parquet; its rows are shuffled and split 90/10. Or `train` and `test` for an official split
    names        column names, for a file without a header
    missing      texts that mean missing, beside the empty one and pandas' own
    comment      lines that begin with this character are skipped
    separator    of the CSV file, "," when not given
    drop         columns that are left out (row numbers, addresses)
    strip        {column: characters to remove from the end of its texts}
    complete     true: rows with a missing value are left out
    categorical  columns that are categories though they are written as numbers; text and flags always are
    datetime     columns that are moments
    task         classification or regression
    target       the column to predict
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CACHE = Path.home() / ".cache" / "vaesynth-benchmarks"
DESCRIPTIONS = Path(__file__).parent / "descriptions"


@dataclass(frozen=True)
class Table:
    """A benchmark table: rows to learn from, rows to test on, what is predicted, and what columns are.

    `kinds` holds "categorical", "numerical" or "datetime" for each column.
    """

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    task: str
    kinds: dict[str, str]


def find(data: Path) -> dict[str, Path]:
    """The described tables in the folder `data`: name to folder."""
    found = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        if (path := _described(folder)) is not None:
            found[str(json.loads(path.read_text()).get("name", folder.name))] = folder
    return found


def read(name: str, data: Path) -> Table:
    """Read a table by name from the folder `data`."""
    tables = find(data)
    if name not in tables:
        raise SystemExit(f"{data}: no table {name!r} is described there; it has {', '.join(tables) or 'none'}")
    folder = tables[name]
    path = _described(folder)
    assert path is not None
    description = json.loads(path.read_text())
    if "file" in description:
        frame = _file(folder / description["file"], description).sample(frac=1.0, random_state=0)
        cut = round(0.9 * len(frame))
        parts = [frame[:cut], frame[cut:]]
    else:
        parts = [_file(folder / description[part], description) for part in ("train", "test")]
    train, test = (part.reset_index(drop=True) for part in parts)
    target, task = description["target"], description["task"]
    if target not in train or target not in test:
        raise SystemExit(f"{path}: the table has no column {target!r}, the target; it has {', '.join(map(str, train))}")
    kinds = {str(column): _kind(train[column]) for column in train}
    kinds |= dict.fromkeys(description.get("categorical", []), "categorical")
    if task == "classification":
        kinds[target] = "categorical"
    return Table(name, train, test, target, task, kinds)


def digest(*parts: bytes) -> str:
    """Name what was made of `parts`."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def prepare(table: Table, cache: Path, rows: int | None = None) -> tuple[Path, Path]:
    """Write the table, and its training rows cut into halves, for all methods alike. Returns both folders.

    The first has train.parquet, test.parquet and metadata.json; the second train.parquet and other.parquet, the halves.
    """
    train = table.train if rows is None else table.train[:rows]
    order = np.random.default_rng(0).permutation(len(train))
    cut = len(order) // 2
    columns = {name: {"sdtype": kind} for name, kind in table.kinds.items()}
    metadata = json.dumps({"columns": columns, "target": table.target, "task": table.task})
    content = [pd.util.hash_pandas_object(frame).to_numpy().tobytes() for frame in (train, table.test)]
    folder = cache / f"{table.name}-{digest(*content, metadata.encode())}"
    parts = {
        folder / "data": {"train": train, "test": table.test},
        folder / "halves": {"train": train.iloc[order[:cut]], "other": train.iloc[order[cut:]]},
    }
    for path, frames in parts.items():
        path.mkdir(parents=True, exist_ok=True)
        if not (path / "metadata.json").exists():
            for name, frame in frames.items():
                frame.reset_index(drop=True).to_parquet(path / f"{name}.parquet", index=False)
            (path / "metadata.json").write_text(metadata)
    return folder / "data", folder / "halves"


def _described(folder: Path) -> Path | None:
    candidates = (folder / "table.json", DESCRIPTIONS / f"{folder.name}.json")
    return next((path for path in candidates if path.exists()), None)


def _file(path: Path, description: dict[str, Any]) -> pd.DataFrame:
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
    else:
        frame = pd.read_csv(
            path,
            sep=description.get("separator", ","),
            names=description.get("names"),
            na_values=description.get("missing"),
            comment=description.get("comment"),
            skipinitialspace=True,
        )
    frame = frame.drop(columns=description.get("drop", []))
    for column, characters in description.get("strip", {}).items():
        frame[column] = frame[column].str.rstrip(characters)
    for column in description.get("datetime", []):
        frame[column] = pd.to_datetime(frame[column])
    return frame.dropna() if description.get("complete") else frame


def _kind(column: pd.Series[Any]) -> str:
    if pd.api.types.is_datetime64_any_dtype(column):
        return "datetime"
    number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return "numerical" if number else "categorical"
