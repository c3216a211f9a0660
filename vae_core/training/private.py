"""Differentially private stochastic gradient descent (DP-SGD, Abadi et al. 2016) for the VAE.

A step's rows are a Poisson sample; each row's gradient is shortened to a norm of at most C; Gaussian noise of deviation
σC is added to their sum. The number of steps is fixed beforehand, and nothing else looks at a row.

The gradients of single rows are never made: of embeddings they would be mostly zeros, batch × parameters of them. As
in ghost clipping (Li et al. 2022) their norms follow from what goes into each layer and what comes back to it. A layer
is clipped in what the model computes with: smoothed weights, embeddings with their places. What those are made of gets
its gradient from the noisy one by the chain rule, which costs no privacy.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vae_core.codec.private import normal, uniform
from vae_core.config import TrainingConfig
from vae_core.errors import TrainingError
from vae_core.model import VAE, Layout
from vae_core.model.likelihoods import Bernoulli, Categorical, Gaussian
from vae_core.model.objective import gaussian_kl, reparameterize
from vae_core.progress import Progress, silent
from vae_core.training.budget import Budget
from vae_core.training.device import resolve_device
from vae_core.training.loop import TrainingResult
from vae_core.training.state import Curves

WARMUP_STEPS = 20
EMA_DECAY = 0.98
CHUNK = 4096  # rows of a step that are worked on at once

_logger = logging.getLogger(__name__)


class RowLosses:
    """One forward pass of a VAE that keeps what the norms of its rows' gradients follow from.

    Args:
        model: whose parameters are used.
        used: `used_tensors` of the model, detached leaves that require gradients.
    """

    def __init__(self, model: VAE, used: dict[str, Tensor]) -> None:
        self.model, self.used = model, used
        # For each layer, its outputs [..., n, out] and Σ input² of each row, [..., n].
        self.layers: list[tuple[Tensor, Tensor | float]] = []

    def __call__(self, codes: Tensor, values: Tensor, free_nats: float, beta: float) -> Tensor:
        """-ELBO of each row, [n], with the KL floored row by row: a floor on the batch's mean has no row's gradient.

        Args:
            codes: int64 [n, variables].
            values: float32 [n, gaussian variables].
            free_nats: floor on a row's KL, shared evenly among the dimensions.
            beta: weight of the KL.
        """
        encoder, used = self.model.encoder, self.used
        rows = codes + encoder.offsets
        summed = functional.embedding_bag(rows, used["encoder.embedding"], mode="sum")
        h = torch.relu(self._layer(summed, float(codes.shape[1])))
        h = torch.relu(self._linear("encoder.hidden", h))
        mu, log_var = self._linear("encoder.output", h).chunk(2, dim=1)
        log_var = log_var.clamp(-10.0, 4.0)
        z = reparameterize(mu, log_var)
        kl = gaussian_kl(mu, log_var).sum(dim=1).clamp_min(free_nats)
        return self._reconstruction(z, codes, values) + beta * kl

    def squared_norms(self, losses: Tensor) -> Tensor:
        """Of each row's gradient by all tensors in use, [n]."""
        outputs = [output for output, _ in self.layers]
        back = torch.autograd.grad(losses.sum(), outputs, retain_graph=True)
        total = torch.zeros_like(losses)
        for gradient, (_, inputs) in zip(back, self.layers, strict=True):
            of_row = gradient.square().sum(dim=-1) * inputs
            total += of_row.flatten(0, -2).sum(dim=0) if of_row.dim() > 1 else of_row
        return total

    def _layer(self, output: Tensor, inputs: Tensor | float) -> Tensor:
        self.layers.append((output, inputs))
        return output

    def _linear(self, name: str, x: Tensor) -> Tensor:
        output = functional.linear(x, self.used[f"{name}.weight"], self.used[f"{name}.bias"])
        return self._layer(output, x.detach().square().sum(dim=-1) + 1.0)

    def _reconstruction(self, z: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """-log p(x|z), [n]; see `Decoder.nll`."""
        decoder, used = self.model.decoder, self.used
        leaves = self.model.leaves(codes).T.contiguous()
        codes = codes.T.contiguous()
        rows = decoder.rows(codes, leaves)
        embedded = self._layer(functional.embedding(rows[:-1], used["decoder.embeddings"]), 1.0)
        states = torch.cat([self._linear("decoder.trunk", z)[None], embedded]).cumsum(dim=0)
        states = self._layer(states + used["decoder.shift"][:, None], 1.0)
        active = torch.relu(states)
        if self.model.training and decoder.dropout > 0:
            kept = torch.rand(len(z), decoder.hidden, device=z.device) >= decoder.dropout
            active = active * (kept / (1 - decoder.dropout))
        total = torch.zeros_like(z[:, 0])
        for group, members in decoder.groups.items():
            given = decoder.given(members, codes, leaves)
            total = total + self._head(group, active[members], codes[members], given, values.T).sum(dim=0)
        return total

    def _head(self, group: str, active: Tensor, codes: Tensor, parents: Tensor, values: Tensor) -> Tensor:
        """-log p(x_j | h_j), [members, n]; see `Likelihood.nll`."""
        head = self.model.decoder.heads[group]
        weight, bias = self.used[f"{group}.weight"], self.used[f"{group}.bias"]
        inputs = active.detach().square().sum(dim=-1) + 1.0
        if isinstance(head, Categorical):
            logits = torch.bmm(active, weight) + functional.embedding(parents + head.starts, bias)
            logits = self._layer(logits, inputs) + functional.embedding(parents + head.starts, head.mask)
            cost = functional.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
            return cost.view_as(codes)
        if isinstance(head, Bernoulli):
            odds = torch.bmm(active, weight[..., None]).squeeze(2) + bias[parents + head.starts]
            odds = self._layer(odds[..., None], inputs)[..., 0]
            return functional.binary_cross_entropy_with_logits(odds, codes.to(odds.dtype), reduction="none")
        assert isinstance(head, Gaussian)
        moments = self._layer(torch.bmm(active, weight) + bias[:, None], inputs)
        mean, log_std = moments[..., 0], moments[..., 1].clamp(-7.0, 7.0)
        nll = 0.5 * ((values - mean) * torch.exp(-log_std)).square() + log_std + 0.5 * math.log(2 * math.pi)
        return torch.where(parents == 0, nll, 0.0)


def used_tensors(model: VAE) -> dict[str, Tensor]:
    """What a forward pass computes with: parameters, or what they are smoothed to; differentiable."""
    encoder, decoder = model.encoder, model.decoder
    used: dict[str, Tensor] = {f"encoder.{name}": tensor for name, tensor in encoder.named_parameters()}
    used |= {f"decoder.trunk.{name}": tensor for name, tensor in decoder.trunk.named_parameters()}
    used |= {"decoder.embeddings": decoder.embeddings(), "decoder.shift": decoder.shift}
    for group, head in decoder.heads.items():
        assert isinstance(head, Categorical | Bernoulli | Gaussian)
        used[f"{group}.weight"] = head.smoothing.columns(head.weight) if isinstance(head, Categorical) else head.weight
        used[f"{group}.bias"] = head.bias
    return used


def clipped_sum(
    model: VAE, used: dict[str, Tensor], codes: Tensor, values: Tensor, norm: float, free_nats: float, beta: float
) -> dict[str, Tensor]:
    """The sum over rows of their gradients by `used`, each shortened to `norm` at most.

    Args:
        model: whose losses they are.
        used: leaves, as `RowLosses` wants them.
        codes: int64 [n, variables].
        values: float32 [n, gaussian variables].
        norm: of a row's gradient by all tensors together, at most.
        free_nats: as in `RowLosses`.
        beta: as in `RowLosses`.
    """
    total = {name: torch.zeros_like(tensor) for name, tensor in used.items()}
    for start in range(0, len(codes), CHUNK):
        pass_ = RowLosses(model, used)
        losses = pass_(codes[start : start + CHUNK], values[start : start + CHUNK], free_nats, beta)
        norms = pass_.squared_norms(losses).sqrt()
        if not bool((sound := norms.isfinite()).all()):
            # Whatever such a row is, it must not get through, nor take the others with it.
            kept = torch.cat([codes[:start], codes[start : start + CHUNK][sound], codes[start + CHUNK :]])
            reals = torch.cat([values[:start], values[start : start + CHUNK][sound], values[start + CHUNK :]])
            return clipped_sum(model, used, kept, reals, norm, free_nats, beta)
        factors = (norm / norms.clamp_min(1e-12)).clamp_max(1.0)
        gradients = torch.autograd.grad((losses * factors).sum(), list(used.values()), allow_unused=True)
        for name, gradient in zip(used, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient
    return total


def fit_privately(
    layout: Layout,
    codes: npt.NDArray[np.integer],
    values: npt.NDArray[np.float32],
    config: TrainingConfig,
    budget: Budget,
    progress: Progress = silent,
) -> TrainingResult:
    """Train a VAE on coded rows with DP-SGD.

    The noise and the samples come from the operating system's generator: a seed that stands in the manifest would let
    anyone subtract them. So two private trainings never end alike, and an interrupted one starts again.

    Args:
        layout: the variables; of the stand-in, not of the rows.
        codes: integer [n, variables], the rows.
        values: float32 [n, gaussian variables].
        config: with `privacy`.
        budget: planned for so many rows.
        progress: told steps done, of how many.

    Returns:
        The moving average of the weights, on the CPU, in evaluation mode; without curves, which would tell of rows.

    Raises:
        TrainingError: the weights are not finite.
    """
    assert config.privacy is not None
    started = time.monotonic()
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    # The noise regularises enough.
    model = VAE(layout, config.model_copy(update={"dropout": config.dropout or 0.0})).to(device)
    # A row more in a batch shifts the others' posterior noise: if that could be known, it would give the row away.
    torch.manual_seed(int.from_bytes(os.urandom(8), "little"))
    average = copy.deepcopy(model, {id(layout): layout}).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.privacy.learning_rate, betas=(0.9, 0.99))
    data, reals = torch.from_numpy(codes), torch.from_numpy(values)
    expected = budget.sample_rate * len(data)
    step, left, stopped = 0, 1.0, "steps"
    while left > 0:
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = config.privacy.learning_rate * warm * (0.5 - 0.5 * math.cos(math.pi * left))
        chosen = torch.from_numpy(np.flatnonzero(uniform(len(data)) <= budget.sample_rate))
        made = used_tensors(model)
        used = {name: tensor.detach().requires_grad_() for name, tensor in made.items()}
        total = clipped_sum(
            model,
            used,
            data[chosen].long().to(device),
            reals[chosen].to(device),
            budget.max_grad_norm,
            config.free_nats,
            config.beta,
        )
        noisy = [_noisy(t, budget.noise_multiplier * budget.max_grad_norm) / expected for t in total.values()]
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(list(made.values()), noisy)
        optimizer.step()
        step += 1
        blend = 1 - min(EMA_DECAY, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), blend)
        time_left = 1 - (time.monotonic() - started) / (60 * config.max_minutes)
        left = min(1 - step / budget.steps, time_left)
        stopped = "time budget" if time_left <= 0 and step < budget.steps else stopped
        if step % 10 == 0:
            progress(step, budget.steps, "private: nothing of the rows is shown")
    if not all(bool(tensor.isfinite().all()) for tensor in average.parameters()):
        raise TrainingError(f"the weights are not finite at step {step}; lower `privacy.learning_rate`")
    average.fold()
    return TrainingResult(average.cpu(), Curves(), step, time.monotonic() - started, stopped, str(device))


def _noisy(total: Tensor, deviation: float) -> Tensor:
    noise = torch.from_numpy(normal(total.numel())).to(total.device, total.dtype)
    return total + deviation * noise.view_as(total)
