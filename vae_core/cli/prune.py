"""The command `prune`: what newer artifacts have replaced is removed from the store."""

from __future__ import annotations

import click

from vae_core.cli import options
from vae_core.cli.output import describe, emit, size, table


@click.command()
@click.argument("name", required=False)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="Newest snapshots, models and datasets of each name that stay.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@options.common
def prune(name: str | None, keep: int, dry_run: bool, store: str | None, as_json: bool) -> None:
    """Remove the artifacts of NAME, or of all names, that newer ones have replaced.

    The champion stays, and the snapshot that it was trained on. What isn't finished stays, too.
    """
    from vae_core.store import Store, replaced
    from vae_core.store import prune as remove

    home = Store(store or "artifacts")
    gone = (replaced if dry_run else remove)(home, keep, name)
    data = [describe(artifact) for artifact in gone]
    rows = [(f"{each['kind']}/{each['name']}@{each['version']}", size(each["bytes"])) for each in data]
    verb = "to remove" if dry_run else "removed"
    total = f"{verb}: {len(data)} artifact{'s' * (len(data) != 1)}, {size(sum(each['bytes'] for each in data))}"
    emit(as_json, {"dry_run": dry_run, "removed": data}, [*table(rows), total])
