"""Artifacts on disk: immutable folders with a manifest, written whole or not at all.

<root>/snapshots/<name>/<version>/   <root>/models/<name>/<version>/   <root>/datasets/<name>/<version>/
"""

from vae_core.store.artifact import Artifact
from vae_core.store.files import hash_file, storage_errors, to_json, write_json
from vae_core.store.manifest import FORMAT_VERSION, MANIFESTS, digest_of, redact, version_of
from vae_core.store.place import LocalPlace, Place, place_of
from vae_core.store.retention import prune, replaced
from vae_core.store.store import KINDS, Store

__all__ = [
    "FORMAT_VERSION",
    "KINDS",
    "MANIFESTS",
    "Artifact",
    "LocalPlace",
    "Place",
    "Store",
    "digest_of",
    "hash_file",
    "place_of",
    "prune",
    "redact",
    "replaced",
    "storage_errors",
    "to_json",
    "version_of",
    "write_json",
]
