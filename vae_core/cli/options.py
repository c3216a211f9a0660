"""Options that commands share, and configurations made of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vae_core.cli.output import notes

if TYPE_CHECKING:
    from vae_core.config import ConfigModel, PipelineConfig

Command = TypeVar("Command", bound=Callable[..., Any])


def _debug(context: click.Context, _parameter: click.Parameter, on: bool) -> None:
    context.find_root().obj["debug"] = on
    notes()
    if not on and not sys.warnoptions:
        import warnings

        # Libraries' warnings are for developers: what a user can act on is an error or a note of ours.
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")


def common(command: Command) -> Command:
    """`--store`, `--json` and `--debug`, which every command has."""
    command = click.option(
        "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show stack traces and logs."
    )(command)
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)
    return click.option("--store", metavar="DIR", help="Artifact store.  [default: artifacts]")(command)


name = click.option("--name", metavar="NAME", help="Name of the artifacts; taken from the source when not given.")
rows = click.option("--rows", type=click.IntRange(min=0), metavar="N", help="Rows to generate.")
device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.")
workers = click.option("--workers", type=click.IntRange(min=1), metavar="W", help="Threads that generate.")
max_minutes = click.option(
    "--max-minutes", type=click.FloatRange(min=0, min_open=True), metavar="M", help="Training stops here at the latest."
)
output = click.option("--output", metavar="DIR", help="Folder or s3:// address; inside the store when not given.")
config_file = click.option(
    "--config", metavar="YAML", help="A pipeline's configuration; options on the command line go first."
)


def source_config(source: str, name: str | None, store: str | None, **overrides: dict[str, Any]) -> PipelineConfig:
    """The configuration that SOURCE|CONFIG.yaml and the options mean; options go before the file.

    Args:
        source: what the user gave.
        name: `--name`.
        store: `--store`.
        overrides: per section of the configuration, the options' values; `None` is not given.

    Raises:
        ConfigError: the file or an option is unusable.
    """
    from vae_core import config
    from vae_core.references import default_name

    if source.lower().endswith((".yaml", ".yml")):
        data = config.load(source).model_dump(by_alias=True)
    else:
        data = {"source": {"path": source}}
    for section, values in overrides.items():
        data[section] = data.get(section, {}) | _given(values)
    data |= _given({"name": name, "store": store})
    parsed = config.parse(config.PipelineConfig, data, "command line")
    return parsed.model_copy(update={"name": parsed.name or default_name(parsed.source)})


def section(model: type[ConfigModel], path: str | None, key: str, **overrides: Any) -> ConfigModel:
    """One section of a pipeline's configuration file, or its defaults, with the options' values.

    Raises:
        ConfigError: the file or an option is unusable.
    """
    from vae_core import config

    base = getattr(config.load(path), key).model_dump(by_alias=True) if path else {}
    return config.parse(model, base | _given(overrides), "command line")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
