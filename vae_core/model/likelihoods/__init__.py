"""The likelihoods p(x_j | h_j) that a variable can have: a new one is one file and one line here."""

from vae_core.model.likelihoods.base import Likelihood
from vae_core.model.likelihoods.bernoulli import Bernoulli
from vae_core.model.likelihoods.categorical import Categorical
from vae_core.model.likelihoods.gaussian import Gaussian
from vae_core.model.likelihoods.located import Located

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "categorical": Categorical,
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "located": Located,
}

__all__ = ["LIKELIHOODS", "Bernoulli", "Categorical", "Gaussian", "Likelihood", "Located"]
