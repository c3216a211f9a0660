"""Sources → snapshot: rows as Parquet, with a schema that says what each column is and why."""

from vae_core.ingest.snapshot import batches, ingest, read_schema

__all__ = ["batches", "ingest", "read_schema"]
