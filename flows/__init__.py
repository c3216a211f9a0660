"""Prefect flows: one file a stage, and `pipeline.py`, which runs them all.

Thin on purpose: parameters, retries, progress and what Prefect's pages show. The work is in `vae_core`, which knows
nothing of Prefect; the artifact store, not Prefect's database, says what is done.
"""
