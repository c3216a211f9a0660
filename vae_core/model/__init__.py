"""The variational autoencoder: encoder q(z|x), prior p(z) = N(0, I), decoder p(x|z), and its objective."""

from vae_core.model.decoder import Decoder
from vae_core.model.encoder import Encoder
from vae_core.model.layout import Layout, Variable
from vae_core.model.objective import aggregate_kl, gaussian_kl, reparameterize
from vae_core.model.structure import Structure
from vae_core.model.vae import VAE, Elbo

__all__ = [
    "VAE",
    "Decoder",
    "Elbo",
    "Encoder",
    "Layout",
    "Structure",
    "Variable",
    "aggregate_kl",
    "gaussian_kl",
    "reparameterize",
]
