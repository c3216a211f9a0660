"""The training loop, from top to bottom.

The learning rate warms up, stays, and decays at the end (warmup-stable-decay). The end begins when the held-out ELBO
has stopped improving, or when the steps or the time are about to run out; so early stopping still gets its decay.
Evaluated and kept are exponential moving averages of the weights: the last ones whose held-out ELBO isn't worse than
the best by more than a standard error of the difference. Where the ELBO is flat, later weights draw better rows.

All that changes on the way is in the tensors of `tensors_of` and in a `Position`: with them a killed training goes on,
and ends with the weights of one that wasn't killed, unless it is the time that ends it.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.config import TrainingConfig
from vae_core.errors import TrainingError
from vae_core.model import VAE, Layout
from vae_core.progress import Progress, silent
from vae_core.training.checkpoint import Checkpoint
from vae_core.training.device import resolve_device
from vae_core.training.state import Curves, Position, restore, tensors_of

WARMUP_STEPS = 100
DECAY_FROM = 0.6  # share of the steps or of the time after which the decay begins at the latest
DECAY_LENGTH = 0.5  # of the steps before it, where early stopping begins it
EVALUATIONS = 50
PATIENCE = 6
TOLERANCE = 0.05  # nats by which the weights that are kept may be worse than the best, at most: few rows tell little
EMA_DECAY = 0.998
BIAS_DECAY = 1.0  # times the learning rate: how fast tables of biases go back to the frequencies they start from

_logger = logging.getLogger(__name__)


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
    """Steps when the configuration gives none: 150 epochs, within [3,000, 12,000]; fewer where held-out rows say so."""
    return int(np.clip(150 * rows / batch_size, 3_000, 12_000))


def fit(  # noqa: PLR0912, PLR0915 (one loop, read from top to bottom)
    layout: Layout,
    codes: npt.NDArray[np.integer],
    values: npt.NDArray[np.float32],
    holdout: npt.NDArray[np.bool_],
    config: TrainingConfig,
    progress: Progress = silent,
    checkpoint: Checkpoint | None = None,
) -> TrainingResult:
    """Train a VAE on coded rows.

    Args:
        layout: the variables.
        codes: integer [n, variables].
        values: float32 [n, gaussian variables], standardised.
        holdout: bool [n], rows never trained on; their ELBO decides when to stop.
        config: hyperparameters, seed, time budget.
        progress: told steps done, of how many.
        checkpoint: where the state is kept on the way; one that is there is gone on with.

    Returns:
        The model with the weights of the best held-out ELBO, on the CPU, in evaluation mode.

    Raises:
        TrainingError: the loss is not finite.
    """
    started = time.monotonic()
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    model = VAE(layout, config).to(device)
    average = copy.deepcopy(model, {id(layout): layout}).eval().requires_grad_(False)
    best = copy.deepcopy(average, {id(layout): layout})
    models = {"model": model, "average": average, "best": best}
    optimizer = torch.optim.AdamW(
        _decay_groups(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.99), fused=True
    )

    data = torch.from_numpy(np.ascontiguousarray(codes[~holdout])).to(device)
    data_values = torch.from_numpy(np.ascontiguousarray(values[~holdout])).to(device)
    held = torch.from_numpy(np.ascontiguousarray(codes[holdout])).to(device)
    held_values = torch.from_numpy(np.ascontiguousarray(values[holdout])).to(device)
    batches = Batches(len(data), min(config.batch_size, len(data)), config.seed)
    max_steps = config.max_steps or default_steps(len(data), batches.size)
    evaluate_every = max(20, max_steps // EVALUATIONS)
    train_loss = torch.zeros((), device=device)  # summed since the last evaluation
    lowest = torch.zeros(len(held), device=device)  # held-out losses of the rows when their mean was lowest
    sums = {"train_loss": train_loss, "lowest": lowest}

    biases: list[Tensor] = [p for name, p in model.decoder.heads.named_parameters() if name.endswith("bias")]
    frequencies = [bias.detach().clone() for bias in biases]

    at = Position()
    if checkpoint is not None and (kept := checkpoint.load()) is not None:
        at = Position.from_dict(kept[1])
        restore(kept[0], models, optimizer, sums)
        started -= at.seconds
        _logger.warning("training goes on at step %s, where it was interrupted", f"{at.step:,}")

    while at.left > 0:
        # One step.
        warm = min(1.0, (at.step + 1) / WARMUP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * (0.5 - 0.5 * math.cos(math.pi * at.left))
        chosen = torch.from_numpy(batches[at.step]).to(device)
        elbo = model(data[chosen].long(), data_values[chosen])
        loss = elbo.loss(config.beta, config.free_nats)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        at.step += 1
        with torch.no_grad():
            torch._foreach_lerp_(biases, frequencies, BIAS_DECAY * optimizer.param_groups[0]["lr"])
            blend = 1 - min(EMA_DECAY, at.step / (at.step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), blend)
            train_loss += elbo.negative

        # The schedule.
        at.seconds = time.monotonic() - started
        time_share = at.seconds / (60 * config.max_minutes)
        late = at.step >= DECAY_FROM * max_steps or time_share >= DECAY_FROM
        if at.decay_start is None and (late or at.worse >= PATIENCE):
            at.decay_start, at.time_at_decay = at.step, min(time_share, 1.0)
            at.decay_steps = max_steps - at.step
            if at.worse >= PATIENCE:
                at.decay_steps = min(at.decay_steps, math.ceil(DECAY_LENGTH * at.step))
                at.stopped = "held-out ELBO stopped improving"
        if at.decay_start is not None:
            by_steps = (at.decay_start + at.decay_steps - at.step) / max(at.decay_steps, 1)
            by_time = (1 - time_share) / max(1 - at.time_at_decay, 1e-9)
            at.left = min(by_steps, by_time)
            if at.left <= 0 and by_time < by_steps:
                at.stopped = "time budget"

        # Held-out ELBO.
        if at.step % evaluate_every == 0 or at.left <= 0:
            curves = at.curves
            mean_loss = float(train_loss) / (at.step - (curves.steps[-1] if curves.steps else 0))
            train_loss.zero_()
            if not math.isfinite(mean_loss):
                raise TrainingError(f"the loss is not finite at step {at.step}; lower `learning_rate`")
            losses, kl = evaluate(average, held, held_values)
            holdout_loss = float(losses.mean())
            # The floor counts here as in training: a latent that is given up is no improvement.
            losses += config.beta * max(config.free_nats - kl, 0.0)
            judged = float(losses.mean())
            at.worse = 0 if judged < at.best_loss - 1e-3 else at.worse + 1
            if judged < at.best_loss:
                at.best_loss = judged
                lowest.copy_(losses)
            if judged - at.best_loss <= min(standard_error(losses - lowest), TOLERANCE):
                best.load_state_dict(average.state_dict())
            curves.steps.append(at.step)
            curves.seconds.append(round(time.monotonic() - started, 2))
            curves.train_loss.append(mean_loss)
            curves.holdout_loss.append(holdout_loss)
            curves.kl_curve.append(kl)
        if at.step % 10 == 0:
            expected = max_steps if at.decay_start is None else at.decay_start + at.decay_steps
            expected = min(expected, math.ceil(at.step / max(time_share, 1e-9)))
            note = "warming up"
            if at.curves.steps:
                note = f"held-out {at.curves.holdout_loss[-1]:.2f} nats, KL {at.curves.kl_curve[-1]:.1f}"
            progress(at.step, max(expected, at.step), note)
        if checkpoint is not None and checkpoint.due():
            checkpoint.save(tensors_of(models, optimizer, sums), asdict(at))

    best.fold()
    seconds = time.monotonic() - started
    return TrainingResult(best.cpu(), at.curves, at.step, seconds, at.stopped, str(device))


class Batches:
    """Which rows each step learns from: every epoch another order, which the seed and the epoch alone decide."""

    def __init__(self, rows: int, size: int, seed: int) -> None:
        self.size = size
        self._rows, self._seed = rows, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, step: int) -> npt.NDArray[np.int64]:
        """Rows of a step, int64 [size]; the few that don't fill a batch wait for the next epoch."""
        epoch, place = divmod(step, self._rows // self.size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(self._rows)
        return self._order[place * self.size : (place + 1) * self.size]


@torch.no_grad()
def evaluate(model: VAE, codes: Tensor, values: Tensor, batch_size: int = 4096) -> tuple[Tensor, float]:
    """Negative ELBO of each row of `codes`, float32 [n], and their KL, nats a row; always with the same noise."""
    generator = torch.Generator(codes.device).manual_seed(0)
    losses, kl = [], 0.0
    for i in range(0, len(codes), batch_size):
        elbo = model(codes[i : i + batch_size].long(), values[i : i + batch_size], generator)
        losses.append(elbo.reconstruction.sum(dim=0) + elbo.kl.sum(dim=1))
        kl += float(elbo.kl.sum())
    return torch.cat(losses), kl / len(codes)


def standard_error(differences: Tensor) -> float:
    """Of the mean of `differences` [n]; 0 for a single one."""
    return float(differences.std(correction=0)) / math.sqrt(max(1, len(differences) - 1))


def _decay_groups(model: VAE, weight_decay: float) -> list[dict[str, object]]:
    """Weights decay; biases don't: those of the heads go back to the codes' frequencies instead. Nor do regressions."""
    kept = ("bias", "shift", "coefficients")
    plain = [p for name, p in model.named_parameters() if name.endswith(kept)]
    decayed = [p for name, p in model.named_parameters() if not name.endswith(kept)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
