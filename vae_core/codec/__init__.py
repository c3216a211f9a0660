"""Columns of a table ↔ integer codes, exactly."""

from vae_core.codec.codec import Codec
from vae_core.codec.parts import Encoded, SubColumn

__all__ = ["Codec", "Encoded", "SubColumn"]
