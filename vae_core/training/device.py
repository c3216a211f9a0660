"""Where training runs."""

from __future__ import annotations

import torch

from vae_core.config import Device
from vae_core.errors import ConfigError


def resolve_device(device: Device) -> torch.device:
    """`auto` takes the GPU when there is one.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device is 'cuda', but torch finds no CUDA device here; use 'auto' or 'cpu'")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
