"""Configuration: one pydantic model a stage. The same models validate YAML, the CLI and the form in Prefect's UI."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vae_core.errors import ConfigError
from vae_core.schema import Kind

Device = Literal["auto", "cpu", "cuda"]
_PLACEHOLDERS = ("name", "version")  # of a dataset's output
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def valid_name(name: str) -> str:
    """Return `name` if it can name an artifact; a name is a folder, so it has no separators and no `..`."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise ConfigError(
            f"name {name!r} is not usable: use letters, digits, '-', '_' and '.', starting with a letter or digit"
        )
    return name


def checked_output(address: str) -> tuple[str, str]:
    """Bucket and prefix of an address `s3://bucket/prefix`.

    Raises:
        ValueError: it is another kind of address, or holds credentials, which the message doesn't repeat.
    """
    scheme, _, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3":
        raise ValueError(f"{scheme[:20]}://… can't be written to; use a local folder or s3://bucket/prefix")
    if "@" in rest or ":" in bucket:
        raise ValueError(
            "an s3:// address has no credentials in it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    prefix = prefix.strip("/")
    if not bucket or set(rest) & set("?#\\") or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise ValueError("an s3:// address is s3://bucket/prefix, and options come from the environment")
    return bucket, prefix


MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "?", ".")  # texts that mean so


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, validate_default=True)


class SourceConfig(_Strict):
    """Where the rows come from and how they are written."""

    path: str | None = Field(None, description="file, folder, glob, URL, or package:file")
    query: str | None = Field(None, description="SQL query, read through SQLAlchemy; needs `url`")
    url: str | None = Field(None, description="SQLAlchemy database URL; ${VARIABLE} is read from the environment")
    format: Literal["auto", "csv", "tsv", "parquet", "arrow", "jsonl"] = "auto"
    delimiter: str | None = Field(None, description="inferred when not given")
    encoding: str | None = Field(None, description="inferred when not given")
    header: bool = Field(True, description="whether the first line names the columns")
    names: list[str] | None = Field(None, description="column names, for a file without a header")
    null_values: list[str] = Field(list(MISSING), description="text that means missing")
    max_rejected: float = Field(0.01, ge=0, le=1, description="share of malformed rows past which ingestion fails")

    @model_validator(mode="after")
    def _one_source(self) -> SourceConfig:
        if (self.path is None) == (self.query is None):
            raise ValueError("give either `path` or `query` with `url`")
        if self.query is not None and self.url is None:
            raise ValueError("`query` needs `url`")
        return self


class ColumnConfig(_Strict):
    """Overrides for one column."""

    kind: Kind | None = Field(None, description="what the column is, where the inference is wrong")
    drop: bool = Field(False, description="leave the column out of the snapshot and of the output")
    likelihood: Literal["categorical", "gaussian"] = "categorical"


class SchemaConfig(_Strict):
    """Overrides of the inferred schema."""

    columns: dict[str, ColumnConfig] = Field(default_factory=dict)


class CodecConfig(_Strict):
    """How columns become integer codes."""

    min_frequency: int = Field(5, ge=1, description="levels and atoms rarer than this many rows are pooled")
    extremes: int = Field(5, ge=1, description="nothing beyond a number column's k-th smallest and largest is emitted")
    min_row_frequency: int = Field(
        5, ge=1, description="rows that fewer rows of the source are equal to are never given; 1 turns it off"
    )
    atom_rows: int = Field(
        5, ge=1, description="rows of a number's value that has a code of its own, at least; others share one"
    )
    max_leaves: int = Field(1024, ge=4, description="finest bins and atoms of a numeric column, at most")
    split_above: int = Field(48, ge=2, description="columns with more codes are split into coarse and fine")
    relations: bool = Field(
        True, description="sums, powers, rates, repeats, orders, what belongs to others or follows on them is kept"
    )
    joint_codes: int = Field(32, ge=1, description="codes that columns of few levels share, at most; 1 turns it off")


class PublicColumn(_Strict):
    """What everybody may know of a column, so that private training needn't find it out."""

    minimum: float | None = Field(None, description="numbers below count as this one; needs `maximum`")
    maximum: float | None = None
    levels: list[str | int | float | bool] | None = Field(None, description="of a category, all of them")

    @model_validator(mode="after")
    def _whole_range(self) -> PublicColumn:
        if (self.minimum is None) != (self.maximum is None):
            raise ValueError("give both `minimum` and `maximum`")
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError("`minimum` must be below `maximum`")
        return self


class PrivacyConfig(_Strict):
    """Differentially private training (docs/privacy.md)."""

    epsilon: float = Field(gt=0, description="what the whole model may tell about a row, at most")
    delta: float = Field(gt=0, lt=1, description="probability of telling more; well below 1 / rows")
    codec_share: float = Field(0.2, gt=0, lt=1, description="of the budget, for the columns' values and marginals")
    max_grad_norm: float = Field(1.0, gt=0, description="of a row's gradient; longer ones are shortened")
    batch_size: int = Field(1024, ge=1, description="rows of a step, on average")
    steps: int = Field(500, ge=1, description="fixed beforehand; the time budget may end training sooner")
    learning_rate: float = Field(0.01, gt=0)
    columns: dict[str, PublicColumn] = Field(default_factory=dict, description="what is public of the columns")


class TrainingConfig(_Strict):
    """The VAE and its training."""

    seed: int = Field(0, ge=0)
    max_minutes: float = Field(8.0, gt=0, description="training stops here, whatever the loss")
    max_steps: int | None = Field(None, ge=1, description="optimiser steps; derived from the rows when not given")
    batch_size: int = Field(512, ge=2)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.2, ge=0)
    dropout: float | None = Field(None, ge=0, lt=1, description="chosen from rows and width when not given")
    latent_dim: int = Field(8, ge=1)
    hidden: int | None = Field(None, ge=8, description="width of the decoder; chosen from the columns when not given")
    inner: int | None = Field(None, ge=0, description="units of each head's own layer; chosen when not given")
    beta: float = Field(1.0, gt=0, description="weight of the KL term")
    free_nats: float = Field(2.5, ge=0, description="floor on the KL, in nats a row")
    holdout: float = Field(0.1, gt=0, lt=0.5, description="share of the rows held out, at most 20,000 rows")
    device: Device = "auto"
    discriminator: bool = Field(True, description="learn which rows are drawn too often, and draw those again")
    privacy: PrivacyConfig | None = Field(None, description="differential privacy; needs the extra `privacy`")
    codec: CodecConfig = Field(default_factory=CodecConfig)

    @model_validator(mode="after")
    def _private_heads(self) -> TrainingConfig:
        if self.privacy is not None and self.inner:
            raise ValueError("`inner` must be 0 with `privacy`: its gradients aren't clipped row by row")
        return self


class EvaluationConfig(_Strict):
    """What the quality report measures."""

    rows: int = Field(50_000, ge=100, description="rows compared at most; larger tables are sampled")
    seed: int = Field(0, ge=0)
    target: str | None = Field(None, description="column predicted by the utility check; chosen when not given")


class GateConfig(_Strict):
    """Thresholds past which a model is not published; where a ratio and an absolute one are given, both hold."""

    enabled: bool = True
    max_shape_ratio: float | None = Field(
        3.0, ge=0, description="mean KS / total variation over columns, × what a second real sample scores"
    )
    max_trend_ratio: float | None = Field(3.0, ge=0, description="mean error of pair trends, × floor")
    max_three_way_ratio: float | None = Field(3.0, ge=0, description="mean error of three-way tables, × floor")
    max_null_ratio: float | None = Field(5.0, ge=0, description="largest error of a missing share, × floor")
    max_utility_ratio: float | None = Field(5.0, ge=0, description="train-on-real minus train-on-synthetic, × floor")
    max_shape_error: float | None = Field(None, ge=0, le=1, description="the same, absolute")
    max_trend_error: float | None = Field(None, ge=0, le=1)
    max_three_way_error: float | None = Field(None, ge=0, le=1)
    max_null_error: float | None = Field(None, ge=0, le=1)
    max_utility_loss: float | None = Field(None, ge=0, le=1)
    max_two_sample_auc: float = Field(0.85, ge=0.5, le=1, description="AUC of a classifier of real against synthetic")
    max_copy_excess: float = Field(
        0.05, ge=0, le=1, description="share of exact copies of training rows, above that of real held-out rows"
    )
    max_membership_auc: float = Field(
        0.6, ge=0.5, le=1, description="AUC of the membership attack, beyond half of its 95 % interval"
    )
    min_kl: float = Field(0.5, ge=0, description="nats a row that the latent carries")


class GenerationConfig(_Strict):
    """How many rows are written, and how."""

    rows: int = Field(10_000, ge=0)
    seed: int = Field(0, ge=0)
    rows_per_shard: int | None = Field(
        None, ge=1, description="rounded up to whole noise blocks; what makes files of about 256 MB when not given"
    )
    shards: str | None = Field(
        None,
        pattern=r"^\d*:\d*$",
        description="make these shards only, such as 40:60, 40: or :60; others make the rest",
    )
    partition_by: list[str] = Field(
        default_factory=list, description="columns whose values name folders, such as origin=JFK"
    )
    batch_size: int | None = Field(
        None, ge=64, description="rows a run of the decoder; what fits its width when not given"
    )
    workers: int | None = Field(None, ge=1, description="as many as cores when not given")
    device: Device = "auto"
    engine: Literal["local", "dask"] = Field("local", description="threads of this process, or processes through Dask")
    scheduler: str | None = Field(
        None, description="address of a Dask cluster for engine dask, such as tcp://host:8786; this machine's processes"
    )
    compression: Literal["zstd", "snappy", "lz4", "none"] = "zstd"
    output: str | None = Field(
        None,
        description="folder or s3:// address, in which {name} and {version} stand for the dataset's; inside the store "
        "when not given",
    )
    resume: bool = Field(True, description="keep the verified shards of an interrupted run")

    @field_validator("output")
    @classmethod
    def _output_is_usable(cls, output: str | None) -> str | None:
        if output is not None:
            if unknown := set(re.findall(r"\{(\w*)\}", output)) - set(_PLACEHOLDERS):
                raise ValueError(f"{{{min(unknown)}}} is no placeholder; {nearest(min(unknown), list(_PLACEHOLDERS))}")
            if "://" in output:
                checked_output(output)
        return output

    def output_of(self, name: str, version: str) -> str | None:
        """`output` of the dataset that has this name and version."""
        return self.output and self.output.replace("{name}", name).replace("{version}", version)

    @model_validator(mode="after")
    def _scheduler_is_of_dask(self) -> GenerationConfig:
        if self.scheduler is not None and self.engine != "dask":
            raise ValueError("`scheduler` needs `engine: dask`")
        return self


class PipelineConfig(_Strict):
    """A whole pipeline: from a source to a published dataset."""

    name: str | None = Field(None, description="names the artifacts; taken from the source when not given")
    store: str = "artifacts"
    keep: int | None = Field(
        None,
        ge=1,
        description="of the name's snapshots, models and datasets, so many of the newest stay after a run; or all",
    )
    source: SourceConfig
    schema_: SchemaConfig = Field(default_factory=SchemaConfig, alias="schema")
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    generation: GenerationConfig = Field(default_factory=GenerationConfig)

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                valid_name(name)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return name


ConfigModel = TypeVar("ConfigModel", bound=BaseModel)


def parse(model: type[ConfigModel], data: Any, where: str = "configuration") -> ConfigModel:
    """Validate `data` as `model`.

    Raises:
        ConfigError: one line that names every fault, with the nearest valid name for an unknown key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_fault(model, e) for e in error.errors())) from None


def load(path: str | Path) -> PipelineConfig:
    """Read a pipeline's configuration from a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, or fails validation.
    """
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping with the key `source`")
    return parse(PipelineConfig, data, str(path))


def nearest(name: str, names: list[str]) -> str:
    """A hint for a mistyped `name`: the nearest of `names`, or all of them when none is near."""
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "valid: " + ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def _fault(model: type[BaseModel], error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    where = ".".join(location) or "top level"
    if error["type"] == "extra_forbidden":
        return f"unknown key `{where}`; {nearest(location[-1], _keys(model, location[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    return f"`{where}`: {message}"


def _keys(model: type[BaseModel], location: list[str]) -> list[str]:
    """The keys that `model` accepts at `location`."""
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    if not location:
        return list(fields)
    annotation = fields.get(location[0])
    nested = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
    if not nested:
        return []
    rest = location[1:]
    return _keys(nested[0], rest if annotation in nested else rest[1:])
