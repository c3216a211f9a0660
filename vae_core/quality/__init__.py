"""How good synthetic rows are: fidelity, utility, privacy, the report and the gate."""

from vae_core.quality.evaluation import evaluate
from vae_core.quality.gate import Judgement, check, enforce
from vae_core.quality.measures import assess

__all__ = ["Judgement", "assess", "check", "enforce", "evaluate"]
