"""The tables of the fidelity benchmark: where each is read, how it is split, what is predicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ADULT = ["age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"]
ADULT += ["race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"]
MAGIC = ["fLength", "fWidth", "fSize", "fConc", "fConc1", "fAsym", "fM3Long", "fM3Trans", "fAlpha", "fDist", "class"]


@dataclass(frozen=True)
class Table:
    """A benchmark table: rows to learn from, rows to test on, and the column to predict."""

    train: pd.DataFrame
    test: pd.DataFrame
    target: str


def _adult(folder: Path) -> Table:
    """UCI Adult with its official split; the test file begins with a comment and its labels end in a dot."""
    train, test = (
        pd.read_csv(folder / name, names=ADULT, skipinitialspace=True, na_values=["?"], comment="|")
        for name in ("adult.data", "adult.test")
    )
    test["income"] = test["income"].str.rstrip(".")
    return Table(train, test, "income")


def _magic(folder: Path) -> Table:
    return _split(pd.read_csv(folder / "magic04.data", names=MAGIC), "class")


def _shoppers(folder: Path) -> Table:
    return _split(pd.read_csv(folder / "online_shoppers_intention.csv"), "Revenue")


def _split(frame: pd.DataFrame, target: str) -> Table:
    """90 % to learn from, 10 % to test on."""
    frame = frame.sample(frac=1.0, random_state=0, ignore_index=True)
    cut = round(0.9 * len(frame))
    return Table(frame[:cut].reset_index(drop=True), frame[cut:].reset_index(drop=True), target)


TABLES: dict[str, tuple[str, Callable[[Path], Table]]] = {
    "adult": ("adult", _adult),
    "magic": ("magic", _magic),
    "shoppers": ("online_shoppers", _shoppers),
}


def read(name: str, data: Path) -> Table:
    """Read a table by name from the folder `data`."""
    folder, reader = TABLES[name]
    return reader(data / folder)
