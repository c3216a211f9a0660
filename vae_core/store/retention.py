"""Which artifacts may go, so that a store that is filled every night doesn't grow for ever."""

from __future__ import annotations

from collections.abc import Collection

from vae_core.store.artifact import Artifact
from vae_core.store.store import KINDS, Store


def replaced(store: Store, keep: int, name: str | None = None, spare: Collection[str] = ()) -> list[Artifact]:
    """The artifacts that newer ones have replaced: datasets, models, snapshots.

    Of each kind and name, the newest `keep` stay, and models that have an alias (the champion), with the snapshots
    that these models were trained on. Private models stay too: made again, one would be paid for again. Unfinished
    datasets and those outside the store aren't looked at.

    Args:
        store: where to look.
        keep: at least 1.
        name: of the artifacts; all when not given.
        spare: digests of artifacts that stay in any case.

    Raises:
        ArtifactError: nothing has this name, or a model's aliases can't be read.
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError("keep is at least 1")
    found = {kind: store.list(kind) for kind in KINDS}
    names = {artifact.name for artifacts in found.values() for artifact in artifacts}
    if name is not None and name not in names:
        store.open("models", name)  # says which names there are
    stay = {
        artifact.digest
        for artifacts in found.values()
        for each in names
        for artifact in [artifact for artifact in artifacts if artifact.name == each][-keep:]
    }
    stay |= set(spare)
    stay |= {model.digest for model in found["models"] if model.version in store.alias(model.name).values()}
    stay |= {model.manifest["inputs"]["snapshot"] for model in found["models"] if model.digest in stay}
    stay |= {model.digest for model in found["models"] if "privacy" in model.manifest}
    return [
        artifact
        for kind in reversed(KINDS)  # what others are made from goes last
        for artifact in found[kind]
        if artifact.digest not in stay and name in (None, artifact.name)
    ]


def prune(store: Store, keep: int, name: str | None = None, spare: Collection[str] = ()) -> list[Artifact]:
    """Remove the artifacts that newer ones have replaced, and return them.

    The arguments are those of `replaced`, and it raises what that does, and:

    Raises:
        StorageError: the store can't be written.
    """
    old = replaced(store, keep, name, spare)
    for artifact in old:
        store.remove(artifact)
    return old
