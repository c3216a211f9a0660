"""Columns of a table ↔ integer codes, exactly."""

from vae_core.codec.codec import Codec
from vae_core.codec.parts import Encoded, SubColumn
from vae_core.codec.rare_rows import RareRows

__all__ = ["Codec", "Encoded", "RareRows", "SubColumn"]
