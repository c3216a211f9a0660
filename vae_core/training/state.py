"""The state of a training: all that changes while it runs, and nothing that it starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Curves:
    """What is recorded at each evaluation; losses are negative ELBOs in nats a row."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    holdout_loss: list[float] = field(default_factory=list)
    kl_curve: list[float] = field(default_factory=list)


@dataclass
class Position:
    """Where a training stands, beside its tensors; of JSON types.

    Attributes:
        step: optimiser steps done.
        seconds: time spent.
        left: share of the decay still ahead, 1 before it begins; at 0 training ends.
        decay_start: step at which the decay began, or None.
        decay_steps: its length.
        time_at_decay: share of the time that was spent when it began.
        best_loss: the lowest so far.
        worse: evaluations since the last better one.
        stopped: why training ends where it does.
        curves: what was recorded so far.
    """

    step: int = 0
    seconds: float = 0.0
    left: float = 1.0
    decay_start: int | None = None
    decay_steps: int = 0
    time_at_decay: float = 0.0
    best_loss: float = math.inf
    worse: int = 0
    stopped: str = "steps"
    curves: Curves = field(default_factory=Curves)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Position:
        """Inverse of `dataclasses.asdict`."""
        return cls(**(data | {"curves": Curves(**data["curves"])}))


def tensors_of(
    models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """All tensors that a training changes, and the states of torch's random numbers; not copied."""
    tensors = {
        f"{kind}.{name}": tensor for kind, model in models.items() for name, tensor in model.state_dict().items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    tensors |= {**losses, "random.cpu": torch.get_rng_state()}
    device = next(iter(losses.values())).device
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def restore(
    tensors: Mapping[str, Tensor],
    models: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    losses: Mapping[str, Tensor],
) -> None:
    """Inverse of `tensors_of`, in place."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    for kind, model in models.items():
        model.load_state_dict(under(f"{kind}."))
    states: dict[int, dict[str, Tensor]] = {}
    for path, tensor in under("optimizer.").items():
        index, _, name = path.partition(".")
        states.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    for name, loss in losses.items():
        loss.copy_(tensors[name])
    torch.set_rng_state(tensors["random.cpu"])
    device = next(iter(losses.values())).device
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
