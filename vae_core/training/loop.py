"""The training loop, from top to bottom.

The learning rate warms up, stays, and decays at the end (warmup-stable-decay). The end begins when the held-out ELBO
has stopped improving, or when the steps or the time are about to run out; so early stopping still gets its decay.
Evaluated and kept are the exponential moving averages of the weights, at their best held-out ELBO.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.config import TrainingConfig
from vae_core.errors import TrainingError
from vae_core.model import VAE, Layout
from vae_core.progress import Progress, silent
from vae_core.training.device import resolve_device

WARMUP_STEPS = 100
DECAY_FROM = 0.6  # share of the steps or of the time after which the decay begins at the latest
DECAY_LENGTH = 0.5  # of the steps before it, where early stopping begins it
EVALUATIONS = 50
PATIENCE = 6
EMA_DECAY = 0.998


@dataclass
class Curves:
    """What is recorded at each evaluation; losses are negative ELBOs in nats a row."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    holdout_loss: list[float] = field(default_factory=list)
    kl_curve: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and how it came to be."""

    model: VAE
    curves: Curves
    steps: int
    seconds: float
    stopped: str
    device: str


def default_steps(rows: int, batch_size: int) -> int:
    """Steps when the configuration gives none: 150 epochs, within [1,500, 12,000]."""
    return int(np.clip(150 * rows / batch_size, 1_500, 12_000))


def fit(  # noqa: PLR0915 (one loop, read from top to bottom)
    layout: Layout,
    codes: npt.NDArray[np.integer],
    values: npt.NDArray[np.float32],
    holdout: npt.NDArray[np.bool_],
    config: TrainingConfig,
    progress: Progress = silent,
) -> TrainingResult:
    """Train a VAE on coded rows.

    Args:
        layout: the variables.
        codes: integer [n, variables].
        values: float32 [n, gaussian variables], standardised.
        holdout: bool [n], rows never trained on; their ELBO decides when to stop.
        config: hyperparameters, seed, time budget.
        progress: told steps done, of how many.

    Returns:
        The model with the weights of the best held-out ELBO, on the CPU, in evaluation mode.

    Raises:
        TrainingError: the loss is not finite.
    """
    started = time.monotonic()
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    order = np.random.default_rng(config.seed)
    model = VAE(layout, config).to(device)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    best, best_loss = copy.deepcopy(average.state_dict()), math.inf
    optimizer = torch.optim.AdamW(
        _decay_groups(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.99), fused=True
    )

    data = torch.from_numpy(np.ascontiguousarray(codes[~holdout])).to(device)
    data_values = torch.from_numpy(np.ascontiguousarray(values[~holdout])).to(device)
    held = torch.from_numpy(np.ascontiguousarray(codes[holdout])).to(device)
    held_values = torch.from_numpy(np.ascontiguousarray(values[holdout])).to(device)
    rows, batch_size = len(data), min(config.batch_size, len(data))
    max_steps = config.max_steps or default_steps(rows, batch_size)
    evaluate_every = max(20, max_steps // EVALUATIONS)

    curves, stopped = Curves(), "steps"
    batches: list[npt.NDArray[np.int64]] = []
    decay_start, decay_steps, worse, step = None, 0, 0, 0
    time_share = 0.0
    running: list[Tensor] = []
    while True:
        # The schedule: `left` is the share of the decay still ahead, 1 before the decay begins.
        time_share = (time.monotonic() - started) / (60 * config.max_minutes)
        left = 1.0
        if decay_start is None and (step >= DECAY_FROM * max_steps or time_share >= DECAY_FROM or worse >= PATIENCE):
            decay_start, time_at_decay = step, time_share
            decay_steps = max_steps - step
            if worse >= PATIENCE:
                decay_steps = min(decay_steps, math.ceil(DECAY_LENGTH * step))
                stopped = "held-out ELBO stopped improving"
        if decay_start is not None:
            by_steps = 1 - (step - decay_start) / max(decay_steps, 1)
            by_time = (1 - time_share) / (1 - time_at_decay)
            left = min(by_steps, by_time)
            if left <= 0:
                stopped = "time budget" if by_time < by_steps else stopped
                break
        rate = config.learning_rate * min(1.0, (step + 1) / WARMUP_STEPS) * (0.5 - 0.5 * math.cos(math.pi * left))
        for group in optimizer.param_groups:
            group["lr"] = rate

        # One step.
        if not batches:
            shuffled = order.permutation(rows)
            batches = [shuffled[i : i + batch_size] for i in range(0, rows - batch_size + 1, batch_size)]
        chosen = torch.from_numpy(batches.pop()).to(device)
        elbo = model(data[chosen].long(), data_values[chosen])
        loss = elbo.loss(config.beta, config.free_nats)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            blend = 1 - min(EMA_DECAY, step / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), blend)
            running.append(elbo.negative)

        # Held-out ELBO.
        if step % evaluate_every == 0:
            train_loss = float(torch.stack(running).mean())
            running = []
            if not math.isfinite(train_loss):
                raise TrainingError(f"the loss is not finite at step {step}; lower `learning_rate`")
            holdout_loss, kl = evaluate(average, held, held_values)
            # The floor counts here as in training: a latent that is given up is no improvement.
            judged = holdout_loss + config.beta * max(config.free_nats - kl, 0.0)
            worse = 0 if judged < best_loss - 1e-3 else worse + 1
            if judged < best_loss:
                best, best_loss = copy.deepcopy(average.state_dict()), judged
            curves.steps.append(step)
            curves.seconds.append(round(time.monotonic() - started, 2))
            curves.train_loss.append(train_loss)
            curves.holdout_loss.append(holdout_loss)
            curves.kl_curve.append(kl)
        if step % 10 == 0:
            expected = max_steps if decay_start is None else decay_start + decay_steps
            expected = min(expected, math.ceil(step / max(time_share, 1e-9)))
            loss_note = (
                f"held-out {curves.holdout_loss[-1]:.2f} nats, KL {curves.kl_curve[-1]:.1f}" if curves.steps else ""
            )
            progress(step, max(expected, step), loss_note)

    average.load_state_dict(best)
    average.fold()
    seconds = time.monotonic() - started
    return TrainingResult(average.cpu().eval(), curves, step, seconds, stopped, str(device))


@torch.no_grad()
def evaluate(model: VAE, codes: Tensor, values: Tensor, batch_size: int = 4096) -> tuple[float, float]:
    """Negative ELBO and KL of `codes`, nats a row, with the same posterior noise at every call."""
    generator = torch.Generator(codes.device).manual_seed(0)
    loss, kl = 0.0, 0.0
    for i in range(0, len(codes), batch_size):
        elbo = model(codes[i : i + batch_size].long(), values[i : i + batch_size], generator)
        loss += float(elbo.negative) * len(elbo.mu)
        kl += float(elbo.kl.sum())
    return loss / len(codes), kl / len(codes)


def _decay_groups(model: VAE, weight_decay: float) -> list[dict[str, object]]:
    """Weights decay; biases (which hold the codes' frequencies) don't."""
    plain = [p for name, p in model.named_parameters() if name.endswith(("bias", "shift"))]
    decayed = [p for name, p in model.named_parameters() if not name.endswith(("bias", "shift"))]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
