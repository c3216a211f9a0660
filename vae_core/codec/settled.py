"""Rows as they are once they are written, told from codes and positions: their codes, and which are rare ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.codec import Codec
from vae_core.codec.forms import Form
from vae_core.codec.inside import numbers_of_draws
from vae_core.codec.orders import put_in_order
from vae_core.codec.parts import GaussianPart, Part
from vae_core.codec.rare_rows import RareRows, hashes
from vae_core.codec.storage import Array, Ints


def settled(codec: Codec, codes: Array, position: Array) -> Array:
    """The codes, integers [n, sub-columns], that `codec.encode` gives to what `codec.decode` makes of these.

    The same, but for nested columns, whose values have several codes, Gaussian ones, whose values follow the position,
    and rows whose values change places.
    """
    return _in_order(codec, _at_positions(codec, canonical(codec, codes), position), position)


def canonical(codec: Codec, codes: Array) -> Array:
    """The codes [n, sub-columns] that equal rows share: of nested values, which have several, the first of each."""
    nested = [(k, part) for k, part in enumerate(codec.parts) if isinstance(part, Part) and part.nest is not None]
    if not nested:
        return codes
    plain = np.array(codec.joining.split(codes))
    leaves = codec.leaves(plain)
    for k, part in nested:
        assert part.nest is not None
        part.encode_nested(leaves[k], [leaves[a] for a in part.nest.sources], plain.T, None)
    return codec.joining.join(plain.T)


def rare(codec: Codec, rows: RareRows, codes: Array, position: Array) -> Ints:
    """Which of the rows that `codec.decode` makes of these are some of `rows`, int64 [f]."""
    return rows.find(
        settled(codec, codes, position), lambda found: hashes(numbers_of_draws(codec, codes[found], position[found]))
    )


def _in_order(codec: Codec, codes: Array, position: Array) -> Array:
    """The codes of rows that are in order. Few rows may not be: those alone are decoded, and encoded again."""
    if not codec.orders:
        return codes
    plain = codec.joining.split(codes)
    first = {column: codec.parts_of[column][0] for order in codec.orders for column in order[:2]}
    numeric = {column: part for column, k in first.items() if isinstance(part := codec.parts[k], Part)}
    leaves = {first[column]: part.leaf(plain) for column, part in numeric.items()}
    doubtful: Array = np.zeros(len(codes), dtype=bool)
    for low, high, *_ in codec.orders:
        below, above = (numeric[k].ends(leaves[first[k]]) for k in (low, high))
        doubtful |= below[1] > above[0]
    rows = np.flatnonzero(doubtful)
    some = {k: leaf[rows] for k, leaf in leaves.items()}
    arrays = {k: codec.array(k, plain[:, rows], some, position[rows], {}) for k in numeric}
    changed = put_in_order(arrays, codec.orders)
    if changed is None:
        return codes
    again = np.asfortranarray(plain[:, rows[changed]].T)
    for column, part in numeric.items():
        form, array = codec.forms[column], arrays[column].filter(pa.array(changed))
        assert isinstance(form, Form)
        part.encode(form.split(array)[0], storage.missing_mask(array), again)
    codes = codes.copy()
    codes[rows[changed]] = codec.joining.join(again)
    return codes


def _at_positions(codec: Codec, codes: Array, position: Array) -> Array:
    """The codes of the values of Gaussian columns, which are those of the position."""
    if not any(isinstance(part, GaussianPart) for part in codec.parts):
        return codes
    plain, reals = codec.joining.split(codes), np.empty((len(codes), codec.positions), np.float32)
    for part in codec.parts:
        if isinstance(part, GaussianPart):
            values, missing = part.decode(plain, position)
            part.encode(values, missing, plain.T, reals)
    return codec.joining.join(plain.T)
