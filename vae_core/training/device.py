"""Where training runs."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def processor() -> Iterator[None]:
    """Set torch up for a long run of small operators on the processor.

    Half of the cores: a step is some hundred small operators, after each of which the threads wait for the slowest; on
    two cores, two threads were no faster than one and three times slower beside another process. Freed tensors of up to
    32 MiB are kept for reuse by glibc: returning them to the system took a sixth of the time in page faults.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(min(before, max(1, cores // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
