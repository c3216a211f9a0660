"""vaesynth learns a variational autoencoder from a table and writes synthetic rows.

    import vae_core as vs

    model = vs.fit(df, name="flights")
    model.sample(10_000)
    vs.load("flights")

Importing this package is cheap: torch, pandas and onnxruntime come in with the first call that needs them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_core.api import Model, fit, load

# OpenMP threads that spin while they wait make training a hundred times slower as soon as another process wants the
# cores; read by OpenMP when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "fit", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "fit", "load"):
        return getattr(importlib.import_module("vae_core.api"), name)
    raise AttributeError(f"module 'vae_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
