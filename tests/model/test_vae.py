"""The decoder is a probability, is autoregressive, and has the likelihoods it says."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from vae_core.config import TrainingConfig
from vae_core.model import VAE, Layout, Variable
from vae_core.model.sampling import sample
from vae_core.model.smoothing import INTERACTION, Smoothing, joint_filter, ordinal_filter


def variable(name, size, likelihood="categorical", parent=None, rows=1, allowed=None, edges=None, refines=None):
    allowed = np.ones((rows, size), bool) if allowed is None else allowed
    counts = np.where(allowed, np.arange(1.0, size + 1)[None], 0.0).repeat(rows // len(allowed), 0)
    return Variable(name, size, likelihood, parent, counts, allowed, allowed, edges, refines=refines)


FINE = np.array([[True, True, False], [True, True, True], [True, False, False]])
DISCRETE = Layout(
    (
        variable("flag", 2, "bernoulli"),
        variable("coarse", 3),
        variable("fine", 3, parent=1, rows=3, allowed=FINE, refines=1),
        variable("level", 4),
        variable("answer", 2, "bernoulli", parent=2, rows=9),
    )
)
EDGES = np.array([-1.0, 0.0, 1.0], np.float32)
WITH_GAUSSIAN = Layout(
    (
        variable("x.missing", 2, "bernoulli"),
        variable("x", 5, "gaussian", parent=0, rows=2, edges=EDGES),
        variable("level", 3),
    )
)


def nll(vae: VAE, z: torch.Tensor, codes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """-log p of codes [variables, n]."""
    return vae.decoder.nll(z, codes, vae.leaves(codes.T).T.contiguous(), values)


def model(layout: Layout) -> VAE:
    torch.manual_seed(0)
    vae = VAE(layout, TrainingConfig(latent_dim=3, hidden=16), folded=True).eval()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return vae


@pytest.fixture(scope="module")
def vae() -> VAE:
    return model(DISCRETE).requires_grad_(False)


def test_probabilities_of_all_rows_sum_to_one(vae):
    rows = torch.tensor(list(itertools.product(*(range(size) for size in DISCRETE.sizes))))
    for z in torch.randn(5, 3, generator=torch.Generator().manual_seed(1)):
        cost = nll(vae, z.expand(len(rows), -1), rows.T.contiguous(), torch.zeros(0, len(rows)))
        assert float(torch.exp(-cost.sum(dim=0)).sum()) == pytest.approx(1.0, abs=1e-5)


def test_impossible_fine_codes_have_no_probability(vae):
    z = torch.randn(1, 3)
    row = torch.tensor([[0], [2], [1], [0], [0]])  # coarse code 2 has one fine code only
    assert float(nll(vae, z, row, torch.zeros(0, 1))[2]) > 1e6


def test_gaussian_density_integrates_to_one_and_is_normal():
    vae = model(WITH_GAUSSIAN).requires_grad_(False)
    x = torch.linspace(-60, 60, 40_001)
    codes = torch.stack(
        [torch.zeros_like(x), (torch.from_numpy(EDGES) <= x[:, None]).sum(1), torch.zeros_like(x)]
    ).long()
    z = torch.randn(1, 3, generator=torch.Generator().manual_seed(2)).expand(len(x), -1)
    density = torch.exp(-nll(vae, z, codes, x[None])[1])
    assert float(torch.trapezoid(density, x)) == pytest.approx(1.0, abs=1e-3)
    head, member = vae.decoder.head(1)
    active = vae.decoder.active(z, codes, vae.leaves(codes.T).T)[list(vae.decoder.groups).index("gaussian")]
    mean, log_std = (moment[member, 0] for moment in head.moments(active))
    torch.testing.assert_close(density, Normal(mean, log_std.exp()).log_prob(x).exp(), atol=1e-5, rtol=1e-3)


def test_missing_value_has_no_density():
    vae = model(WITH_GAUSSIAN)
    codes = torch.tensor([[1, 1], [4, 4], [0, 0]])
    cost = nll(vae, torch.zeros(2, 3), codes, torch.tensor([[0.0, 123.0]]))
    assert cost[1].tolist() == [0.0, 0.0]


def test_a_variable_depends_on_those_before_it_and_never_on_those_after(vae):
    z, nothing = torch.randn(1, 3), torch.zeros(0, 1)
    base = torch.tensor([[0], [1], [0], [2], [1]])
    cost = nll(vae, z, base, nothing)
    for j in range(5):
        changed = base.clone()
        changed[j] = (base[j] + 1) % DISCRETE.sizes[j]
        other = nll(vae, z, changed, nothing)
        assert torch.equal(cost[:j], other[:j])
        assert (cost[j:] != other[j:]).any()


def test_samples_have_the_model_probabilities(vae):
    n = 200_000
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(1, 3, generator=generator).expand(n, -1)
    codes, _ = sample(vae.decoder, z, torch.rand(n, 5, generator=generator), torch.zeros(n, 0))
    rows = torch.tensor(list(itertools.product(*(range(size) for size in DISCRETE.sizes))))
    cost = nll(vae, z[: len(rows)], rows.T.contiguous(), torch.zeros(0, len(rows)))
    expected = torch.exp(-cost.sum(dim=0)).double().detach().numpy()
    index = np.ravel_multi_index(codes.numpy().T, DISCRETE.sizes)
    found = np.bincount(index, minlength=len(rows)) / n
    assert np.abs(found - expected).max() < 5 * math.sqrt(0.25 / n)
    assert found[expected < 1e-12].sum() == 0


@pytest.mark.parametrize("inner", [0, 5])
def test_heads_see_what_their_own_layers_make_of_the_state(inner):
    """Of one variable what is drawn from is of all at once what is trained; without a layer it is one product."""
    torch.manual_seed(0)
    decoder = VAE(DISCRETE, TrainingConfig(latent_dim=3, hidden=16, inner=inner)).decoder
    active = torch.rand(16)
    for j in range(len(DISCRETE.variables)):
        head, member = decoder.head(j)
        weight = head.weight if head.weight.dim() == 3 else head.weight[..., None]
        whole = head.product(active.expand(len(weight), 1, -1), weight)[0][member, 0]
        own = torch.relu(active @ head.inner[member] + head.inner_shift[member])
        torch.testing.assert_close(whole, torch.cat([active, own]) @ weight[member])
        torch.testing.assert_close(whole, head.units(member, active[None])[0] @ weight[member])


def test_untrained_heads_start_at_the_frequencies():
    torch.manual_seed(0)
    decoder = VAE(DISCRETE, TrainingConfig(latent_dim=3, hidden=16)).eval().requires_grad_(False).decoder
    head, member = decoder.head(3)
    probability = torch.softmax(
        head.logits(torch.zeros(len(head.weight), 1, 16), torch.zeros(len(head.weight), 1).long(), torch.zeros(0, 1)),
        dim=2,
    )
    counts = DISCRETE.variables[3].counts[0]
    np.testing.assert_allclose(probability[member, 0, :4], counts / counts.sum(), rtol=0.15)


def test_folding_changes_nothing_but_the_weights():
    ordered = Layout(
        tuple(replace(v, ordered=v.size if v.likelihood == "categorical" else 0) for v in DISCRETE.variables)
    )
    torch.manual_seed(0)
    vae = VAE(ordered, TrainingConfig(latent_dim=3, hidden=16)).eval()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    rows = torch.tensor(list(itertools.product(*(range(size) for size in ordered.sizes))))
    z, values = torch.randn(len(rows), 3), torch.zeros(0, len(rows))
    before = nll(vae, z, rows.T.contiguous(), values), vae.encoder(rows)
    plain = vae.decoder.embedding.clone()
    vae.fold()
    after = nll(vae, z, rows.T.contiguous(), values), vae.encoder(rows)
    torch.testing.assert_close(after, before)
    assert not torch.equal(plain, vae.decoder.embedding)


def test_smoothing_moves_neighbours_together():
    matrix = ordinal_filter(5, 1.0)
    smoothed = matrix[:, 2]  # of weights that only the third code has
    assert (smoothed > 0).all() and smoothed[2] == smoothed.max()
    torch.testing.assert_close(matrix @ torch.ones(5), torch.ones(5))


def test_smoothing_keeps_what_goes_with_one_column_of_a_joint_code_and_damps_the_rest():
    members = np.array([(a, b) for a in range(3) for b in range(4) if (a, b) != (2, 3)], np.int32)
    matrix, rng = joint_filter(members), np.random.default_rng(0)
    main = torch.from_numpy(rng.normal(size=3)[members[:, 0]] + rng.normal(size=4)[members[:, 1]]).float()
    torch.testing.assert_close(matrix @ main, main)
    rest = torch.from_numpy(rng.normal(size=len(members))).float()
    rest = rest - (matrix @ rest - INTERACTION * rest) / (1 - INTERACTION)  # orthogonal to all that goes with one
    torch.testing.assert_close(matrix @ rest, INTERACTION * rest)


def test_smoothing_leaves_codes_alone_that_have_nothing_in_common():
    smoothing = Smoothing([replace(v, ordered=2 if j == 2 else 0) for j, v in enumerate(DISCRETE.variables)], [1.0] * 5)
    for j, variable in enumerate(DISCRETE.variables):
        weights = torch.randn(variable.size, 2)
        same = (smoothing.rows(j, weights) == weights).all(dim=1)
        assert same[2:].all() and same[:2].all() == (j != 2)
