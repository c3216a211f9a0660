"""How good synthetic rows are: fidelity, utility, privacy, the report and the gate."""

from vae_core.quality.evaluation import assess, evaluate
from vae_core.quality.gate import Violation, check, enforce

__all__ = ["Violation", "assess", "check", "enforce", "evaluate"]
