"""The terms of the ELBO obey their laws."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vae_core.model import aggregate_kl, gaussian_kl, reparameterize
from vae_core.model.objective import floored_kl


@pytest.fixture
def posterior() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 5, generator=generator), torch.randn(64, 5, generator=generator)


def test_kl_is_that_of_torch_distributions(posterior):
    mu, log_var = posterior
    expected = kl_divergence(Normal(mu, torch.exp(0.5 * log_var)), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mu, log_var), expected)


def test_kl_is_what_monte_carlo_says(posterior):
    mu, log_var = posterior[0][:1], posterior[1][:1]
    draws = 200_000
    z = reparameterize(mu.expand(draws, -1), log_var.expand(draws, -1), torch.Generator().manual_seed(1))
    log_ratio = Normal(mu, torch.exp(0.5 * log_var)).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    error = log_ratio.std(dim=0) / math.sqrt(draws)
    assert ((log_ratio.mean(dim=0) - gaussian_kl(mu, log_var)[0]).abs() < 5 * error).all()


def test_kl_is_zero_at_the_prior_alone(posterior):
    assert gaussian_kl(torch.zeros(3, 2), torch.zeros(3, 2)).abs().max() == 0
    assert (gaussian_kl(*posterior) >= 0).all()


def test_gradients_flow_through_the_sample(posterior):
    mu, log_var = (t.clone().requires_grad_() for t in posterior)
    z = reparameterize(mu, log_var, torch.Generator().manual_seed(2))
    z.sum().backward()
    # dz/dμ = 1 and dz/d(log σ²) = (z - μ) / 2
    torch.testing.assert_close(mu.grad, torch.ones_like(mu))
    torch.testing.assert_close(log_var.grad, ((z - mu) / 2).detach())


def test_sample_has_the_posterior_moments(posterior):
    mu, log_var = posterior[0][:1], posterior[1][:1]
    z = reparameterize(mu.expand(100_000, -1), log_var.expand(100_000, -1), torch.Generator().manual_seed(3))
    torch.testing.assert_close(z.mean(dim=0), mu[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(dim=0).log(), log_var[0], atol=0.03, rtol=0)


def test_floor_takes_the_gradient_of_idle_dimensions_only():
    mu = torch.tensor([[0.01, 2.0], [-0.01, -2.0]], requires_grad=True)
    floored_kl(gaussian_kl(mu, torch.zeros(2, 2)), free_nats=1.0).backward()
    assert mu.grad[:, 0].abs().max() == 0
    assert mu.grad[:, 1].abs().min() > 0


def test_floor_is_the_least_that_the_kl_costs():
    idle, busy = (
        gaussian_kl(torch.zeros(4, 4), torch.zeros(4, 4)),
        gaussian_kl(torch.full((4, 4), 3.0), torch.zeros(4, 4)),
    )
    assert float(floored_kl(idle, 2.0)) == pytest.approx(2.0)
    assert float(floored_kl(busy, 2.0)) == pytest.approx(float(busy.sum(dim=1).mean()))


def test_aggregate_kl_sees_a_shifted_and_a_narrow_posterior():
    generator = torch.Generator().manual_seed(4)
    spread = torch.randn(20_000, 3, generator=generator) * math.sqrt(0.5)
    half = torch.full_like(spread, math.log(0.5))
    assert float(aggregate_kl(spread, half)) < 0.01  # half the variance between the means, half inside
    assert float(aggregate_kl(spread + 1, half)) > 1.0
    assert float(aggregate_kl(torch.zeros_like(spread), half)) > 0.1
