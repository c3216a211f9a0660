"""What a private training may spend, and what it spent, by Opacus' accountant (Gopi et al. 2021).

Two kinds of mechanism touch real rows: the codec's histograms, which are Gaussian mechanisms, and the training's steps,
which are Gaussian mechanisms on a Poisson sample. Both have sensitivity 1 in units of their noise, so that one
accountant composes them all.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from scipy.optimize import brentq
from scipy.stats import norm

from vae_core.config import PrivacyConfig
from vae_core.errors import ConfigError, MissingDependencyError

LEAST, MOST = 0.3, 1e4  # noise multipliers
THRESHOLDS = 0.1  # of delta: a value that isn't public is let out though it stands for one row
ACCOUNTANT = "prv"
_TOLERANCE = 0.02  # relative, of a noise multiplier
_ERROR = 0.02  # of epsilon, by which the upper bound may be too high


@dataclass(frozen=True)
class Budget:
    """How much noise what gets; noise multipliers are deviations over sensitivities.

    Attributes:
        accounted_delta: of the accountant; the rest of delta pays for the thresholds.
        codec_noise_multiplier: of each of the `codec_releases` histograms.
        noise_multiplier: of each step on a Poisson sample of rate `sample_rate`.
        steps: of the training.
    """

    delta: float
    accounted_delta: float
    codec_noise_multiplier: float
    codec_releases: int
    noise_multiplier: float
    sample_rate: float
    steps: int
    max_grad_norm: float

    @classmethod
    def plan(cls, config: PrivacyConfig, rows: int, releases: int) -> Budget:
        """The least noise that keeps the codec's releases and all steps together within the epsilon asked for.

        Raises:
            MissingDependencyError: Opacus is not installed.
            ConfigError: no noise is enough.
        """
        delta = (1 - THRESHOLDS) * config.delta
        # Gaussian mechanisms add up in 1 / deviation²: the codec gets a share of one that would cost everything.
        whole = gaussian_deviation(config.epsilon, delta)
        codec = whole * math.sqrt(releases / config.codec_share)
        rate = min(1.0, config.batch_size / rows)

        def excess(noise: float) -> float:
            return epsilon(delta, [(codec, 1.0, releases), (noise, rate, config.steps)]) - config.epsilon

        # Where the central limit puts it (Dong, Roth & Su 2022, corollary 5.5); the accountant is slow, so a few steps.
        share = (1 - config.codec_share) / whole**2
        high = max(math.log1p(share / (rate**2 * config.steps)) ** -0.5, LEAST)
        while excess(high) > 0:
            high *= 1.1
            if high > MOST:
                raise ConfigError(
                    "training.privacy: no noise is enough; raise epsilon or delta, or lower steps or codec_share"
                )
        low = high / 1.1
        while high > LEAST and excess(low) <= 0:
            low, high = low / 1.1, low
        while high > LEAST and high / low > 1 + _TOLERANCE:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if excess(middle) > 0 else (low, middle)
        return cls(config.delta, delta, codec, releases, high, rate, config.steps, config.max_grad_norm)

    def record(self, steps: int) -> dict[str, Any]:
        """What the manifest says after `steps` steps: the parts, and what the accountant makes of them."""
        codec = (self.codec_noise_multiplier, 1.0, self.codec_releases)
        training = (self.noise_multiplier, self.sample_rate, steps)
        return {
            "epsilon": epsilon(self.accounted_delta, [codec, training]),
            "codec_epsilon": epsilon(self.accounted_delta, [codec]),
            "training_epsilon": epsilon(self.accounted_delta, [training]),
            "accountant": ACCOUNTANT,
            **asdict(self),
            "steps": steps,
        }


def epsilon(delta: float, mechanisms: list[tuple[float, float, int]]) -> float:
    """Epsilon of the composition of (noise multiplier, sample rate, times) each, an upper bound.

    Raises:
        MissingDependencyError: Opacus is not installed.
    """
    try:
        from opacus.accountants import PRVAccountant
    except ImportError:
        raise MissingDependencyError(
            "training.privacy needs Opacus, which is not installed: pip install 'vaesynth[privacy]'"
        ) from None
    accountant = PRVAccountant()
    accountant.history = [mechanism for mechanism in mechanisms if mechanism[2]]
    return float(accountant.get_epsilon(delta, eps_error=_ERROR))


def gaussian_deviation(epsilon: float, delta: float) -> float:
    """The least deviation of a Gaussian mechanism of sensitivity 1 (Balle & Wang 2018, theorem 8)."""

    def excess(log_deviation: float) -> float:
        deviation = math.exp(log_deviation)
        half, by = 1 / (2 * deviation), epsilon * deviation
        return float(norm.cdf(half - by) - math.exp(epsilon + norm.logcdf(-half - by)) - delta)

    return math.exp(brentq(excess, -5, 20, xtol=1e-9))
