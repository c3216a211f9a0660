"""Commands that look at the store: `list`, `show`, `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vae_core.cli import options
from vae_core.cli.output import describe, emit, size, table

if TYPE_CHECKING:
    from vae_core.store import Artifact, Store

_KINDS = ("snapshots", "models", "datasets")


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(_KINDS))
@options.common
def list_(kind: str | None, store: str | None, as_json: bool) -> None:
    """List the artifacts of the store, or those of one KIND."""
    from vae_core.references import CHAMPION
    from vae_core.store import Store

    home = Store(store or "artifacts")
    found = [artifact for each in ([kind] if kind else _KINDS) for artifact in home.list(each)]
    champions = {name: home.alias(name).get(CHAMPION) for name in {a.name for a in found if a.kind == "models"}}
    data = [describe(a) | ({"champion": champions[a.name] == a.version} if a.kind == "models" else {}) for a in found]
    rows = [
        (
            entry["kind"],
            f"{entry['name']}@{entry['version']}",
            f"{entry['rows']:,}" if entry["rows"] is not None else "",
            size(entry["bytes"]),
            str(entry["created"])[:16].replace("T", " "),
            CHAMPION if entry.get("champion") else "",
        )
        for entry in data
    ]
    lines = table([("kind", "artifact", "rows", "size", "created (UTC)", ""), *rows], indent="")
    emit(as_json, {"store": str(home.root), "artifacts": data}, lines if rows else [f"the store {home.root} is empty"])


@click.command()
@click.argument("artifact")
@options.common
def show(artifact: str, store: str | None, as_json: bool) -> None:
    """Show ARTIFACT: a name, name@version, models/name@version, a path or an s3:// address."""
    from vae_core.store import Store

    found = _resolve(Store(store or "artifacts"), artifact)
    lines: list[str] = []
    for each in found:
        manifest = each.manifest
        facts: list[tuple[str, object]] = [("path", each.place), ("created", manifest["created"])]
        facts += [(key, manifest[key]) for key in ("rows", "seed", "commit") if manifest.get(key) is not None]
        facts += [(f"made from {role}", digest[:12]) for role, digest in manifest.get("inputs", {}).items()]
        facts += [("stages", ", ".join(manifest["stages"]))] if manifest.get("stages") else []
        facts += [(file, size(entry["bytes"])) for file, entry in list(manifest["files"].items())[:20]]
        if len(manifest["files"]) > 20:
            facts.append(("…", f"{len(manifest['files']) - 20} more files"))
        lines += [f"{each.kind}/{each.name}@{each.version}", *table(facts), ""]
    emit(as_json, {"artifacts": [describe(a) | {"manifest": a.manifest} for a in found]}, lines[:-1])


@click.command()
@click.argument("artifacts", nargs=-1)
@options.common
def verify(artifacts: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """Recompute the sha256 of every file of ARTIFACTS, or of the whole store.

    ARTIFACTS are names, name@version, folders or s3:// addresses. Datasets are proved to hold every row once.
    """
    from vae_core.errors import ArtifactError
    from vae_core.generation.verify import verify as proof
    from vae_core.store import Store

    home = Store(store or "artifacts")
    if artifacts:
        found = [each for text in artifacts for each in _resolve(home, text)]
    else:
        found = [each for kind in _KINDS for each in home.list(kind)]
    faults = {str(each.place): proof(each) if each.kind == "datasets" else each.verify() for each in found}
    lines = [
        f"{'CHANGED' if faults[str(each.place)] else 'ok':8}{each.kind}/{each.name}@{each.version}"
        + "".join(f"\n          {fault}" for fault in faults[str(each.place)])
        for each in found
    ]
    damaged = [f"{folder}: {found_[0]}" for folder, found_ in faults.items() if found_]
    emit(as_json, {"verified": len(found), "faults": {k: v for k, v in faults.items() if v}}, lines)
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise ArtifactError(f"{damaged[0]}{more}: delete what was changed and make it again")


def _resolve(store: Store, text: str) -> list[Artifact]:
    """The artifacts that `text` means: one, or one a kind for a bare name.

    Raises:
        ArtifactError: there is none.
    """
    from vae_core.errors import ArtifactError, InputError
    from vae_core.store import MANIFESTS, Artifact, place_of

    if "://" in text or Path(text).is_dir():
        place = place_of(text)
        if not any(place.read(name) is not None for name in MANIFESTS):
            from vae_core.generation.verify import unfinished

            if lacks := unfinished(place):
                raise ArtifactError(lacks)
        return [Artifact.load(place)]
    kind, _, rest = text.partition("/")
    if kind in _KINDS and rest:
        return [store.open(kind, rest)]
    found, errors = [], []
    for each in _KINDS:
        try:
            found.append(store.open(each, text))
        except InputError as error:
            errors.append(error)
    if not found:
        if "/" in text or "@" in text:
            raise errors[0]
        raise ArtifactError(f"nothing named {text!r} in the store {store.root}; `vaesynth list` shows what there is")
    return found
