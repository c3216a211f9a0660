"""Artifacts on disk: immutable folders with a manifest, written whole or not at all.

<root>/snapshots/<name>/<version>/   <root>/models/<name>/<version>/   <root>/datasets/<name>/<version>/
"""

from vae_core.store.artifact import Artifact
from vae_core.store.files import hash_file, storage_errors, write_json
from vae_core.store.manifest import FORMAT_VERSION, digest_of, redact, version_of
from vae_core.store.store import KINDS, Store

__all__ = [
    "FORMAT_VERSION",
    "KINDS",
    "Artifact",
    "Store",
    "digest_of",
    "hash_file",
    "redact",
    "storage_errors",
    "version_of",
    "write_json",
]
