"""Export: the torch model as two ONNX graphs that need neither torch nor this project."""

from vae_core.export.stage import export

__all__ = ["export"]
