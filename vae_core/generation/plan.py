"""What a dataset will be: its identity, the size of its shards, and which of them are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vae_core import __version__
from vae_core.codec.rare_rows import FILE as RARE_ROWS
from vae_core.config import GenerationConfig
from vae_core.errors import ArtifactError, ConfigError
from vae_core.generation.discriminator import FILE as DISCRIMINATOR
from vae_core.generation.parquet import ROW_GROUP, ParquetFile
from vae_core.generation.partition import check_partitions
from vae_core.generation.sampler import Sampler
from vae_core.generation.shards import Run, Shard, whole_blocks
from vae_core.store import Artifact, digest_of

FORMAT_VERSION = 3
_SMALLEST = 8 * ROW_GROUP  # rows of a shard
_BYTES = 256e6  # of a shard


def plan(model: Artifact, sampler: Sampler, config: GenerationConfig) -> Run:
    """What decides every byte of the dataset.

    Raises:
        ArtifactError: the model isn't exported.
        ConfigError: a column can't partition the dataset.
    """
    missing = {"decoder.onnx", "codec.json"} - model.manifest["files"].keys()
    if missing:
        raise ArtifactError(f"{model.folder}: it has no {' and no '.join(sorted(missing))}; export the model first")
    check_partitions(sampler.codec, config.partition_by)
    size = whole_blocks(config.rows_per_shard) if config.rows_per_shard else rows_per_shard(sampler, config)
    decisive = {"decoder.onnx", "codec.json", DISCRIMINATOR, RARE_ROWS} & model.manifest["files"].keys()
    files = {file: model.manifest["files"][file]["sha256"] for file in decisive}
    identity = {
        "inputs": {"model": model.digest} | files,
        "config": {
            "rows": config.rows,
            "seed": config.seed,
            "rows_per_shard": size,
            "compression": config.compression,
            "partition_by": config.partition_by,
        },
        "code": {"vae_core": __version__, "format": FORMAT_VERSION},
    }
    digest, columns = digest_of(identity), tuple(config.partition_by)
    return Run(digest, model.digest, config.seed, config.rows, size, config.compression, columns)


def rows_per_shard(sampler: Sampler, config: GenerationConfig) -> int:
    """Rows that make a file of about 256 MB (180 to 360): the power of two next to what a row group takes.

    It depends on the model and the compression alone, so machines that share a dataset agree on it. Datasets that are
    one file anyway aren't measured.
    """
    if config.rows <= _SMALLEST:
        return _SMALLEST
    counted = _Counted()
    run = Run("", "", 0, ROW_GROUP, ROW_GROUP, config.compression)
    file = ParquetFile(counted, run, run.shards()[0], sampler.schema)
    # In a thread, as the workers are: they take over the memory that the C library keeps for a thread that has ended.
    with ThreadPoolExecutor(1) as thread:
        file.write(thread.submit(sampler.encoded, ROW_GROUP).result())
    file.finish()
    return max(_SMALLEST, ROW_GROUP << round(math.log2(_BYTES / counted.size)))


class _Counted:
    """A file that is measured and not kept."""

    def __init__(self) -> None:
        self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def selected(shards: Sequence[Shard], asked: str | None) -> Sequence[Shard]:
    """Those of `shards` that `asked` names, such as `40:60`, `40:` or `:60`; all when it is not given.

    Raises:
        ConfigError: there are none of them.
    """
    start, stop = (int(bound) if bound else None for bound in (asked or ":").split(":"))
    if not (found := shards[start:stop]):
        raise ConfigError(f"shards {asked}: this dataset has {len(shards)} shards, 0:{len(shards)}")
    return found
