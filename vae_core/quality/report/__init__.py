"""The quality report: one HTML file that needs nothing else."""

from vae_core.quality.report.page import render

__all__ = ["render"]
