"""Proof that a dataset is what it should be: every shard there, none twice, rows without a gap, digests right."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.errors import ArtifactError
from vae_core.generation.shards import Folder, Run, Shard, ranges, run_of
from vae_core.store import Artifact, Place

_PART = re.compile(r"part-(\d{5,})\.parquet")


def verify(dataset: Artifact) -> list[str]:
    """Read all of a finished dataset. Returns its faults, none for a sound one.

    Beside the digests, every file must say itself which rows of which seed and model it holds, and all together must be
    the rows of the manifest, once each.
    """
    faults = dataset.verify()
    if faults or "shards" not in dataset.manifest:  # an earlier version's has one file a shard and says no more
        return faults
    manifest = dataset.manifest
    config = manifest["config"]
    run = Run("", manifest["inputs"]["model"], manifest["seed"], manifest["rows"], config["rows_per_shard"], "")
    shards, rows = run.shards(), Counter[int]()
    for name, entry in manifest["files"].items():
        found = _PART.fullmatch(PurePosixPath(name).name)
        index = int(found[1]) if found else -1
        if not 0 <= index < len(shards):
            faults.append(f"{name} is no shard of this dataset")
            continue
        if fault := _fault(dataset.place, name, entry["rows"], shards[index], run):
            faults.append(fault)
        rows[index] += entry["rows"]
    wrong = [shard for shard in shards if rows[shard.index] != shard.rows]
    return faults + [
        f"shard {s.index} has {rows[s.index]:,} rows, of {s.rows:,} from {s.first_row:,} on" for s in wrong
    ]


def _fault(place: Place, name: str, rows: int, shard: Shard, run: Run) -> str | None:
    """What one file says of itself that it should not."""
    try:
        footer = pq.read_metadata(place.open(name))
    except (OSError, pa.ArrowException) as error:
        return f"{name} can't be read: {' '.join(str(error).split())[:100]}"
    said = {key.decode(): value.decode(errors="replace") for key, value in (footer.metadata or {}).items()}
    expected: dict[str, Any] = {
        "model": run.model,
        "seed": run.seed,
        "shard": shard.index,
        "first_row": shard.first_row,
    }
    for key, value in expected.items():
        if said.get(f"vaesynth.{key}") != str(value):
            return f"{name} holds {key} {said.get(f'vaesynth.{key}')}, not {value}"
    return None if footer.num_rows == rows else f"{name} has {footer.num_rows:,} rows, its record says {rows:,}"


def unfinished(place: Place) -> str | None:
    """What a dataset without a manifest lacks, in one line; None where no run has begun one.

    Raises:
        ArtifactError: a file that was finished has changed.
    """
    run = run_of(place)
    if run is None:
        return None
    shards = run.shards()
    files, missing = Folder(place, run).look(shards)
    if changed := [name for name, entry in files.items() if place.sha256(name) != entry["sha256"]]:
        raise ArtifactError(
            f"{place}: unfinished, and {changed[0]} was changed; run `vaesynth generate` again, which makes it anew"
        )
    if not missing:
        return f"{place}: all {len(shards)} shards are there and sound, but no manifest; run `vaesynth generate` again"
    return (
        f"{place}: unfinished: {len(missing)} of {len(shards)} shards are missing ({_short(ranges(missing))}); "
        "the others are sound; make them with `vaesynth generate … --resume`, or some with --shards A:B"
    )


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:100].rpartition(",")[0] + ", …"
