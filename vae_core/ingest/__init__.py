"""Sources → snapshot: rows as Parquet, with a schema that says what each column is and why."""

from vae_core.ingest.snapshot import ingest

__all__ = ["ingest"]
