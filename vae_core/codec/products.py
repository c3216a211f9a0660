"""Numbers that are products or quotients of others: what is paid for so many pieces, a share of the revenue."""

from __future__ import annotations

import warnings
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from vae_core.codec.relations import numbers
from vae_core.codec.storage import Array

_MULTIPLIED = 0.95  # share of rows that are exact products, at least
_VARIED = 0.1  # share of rows in which a factor isn't its median, at least
_SHARES = 64  # different values of a column of discounts, at most
_FACTOR_DIGITS = 7  # after the point, fewer than
FIRST = 64  # rows on which products are tried before all of them; fewer tell nothing

Fitted: TypeAlias = tuple[tuple[int, ...], tuple[float, ...], float]
"""Sources, coefficients and constant, as `Relation` has them."""


def fit_product(y: Array, x: dict[int, Array], half: Array) -> Fitted | None:
    """Two sources and the factor of the product that nearly all rows are, but for `half`, as `Relation` has them."""
    varied = {k: values for k, values in x.items() if _varies(values)}
    names = list(varied)
    first = np.column_stack([values[:FIRST] for values in varied.values()]) if names else np.empty((0, 0))
    start = y[:FIRST, None]
    for n, a in enumerate(names):
        products = first[:, n, None] * first[:, n + 1 :]
        known = products != 0
        ratios = np.sort(np.where(known, start / np.where(known, products, 1.0), np.inf), axis=0)
        median = ratios[np.maximum(known.sum(axis=0) - 1, 0) // 2, np.arange(products.shape[1])]
        ratio = np.where(known.any(axis=0), median, 0.0)
        near = np.maximum(2 * half[:FIRST, None], 1e-3 * np.abs(start))
        likely = (np.abs(start - ratio * products) < near).mean(axis=0) >= _MULTIPLIED
        for b in np.array(names[n + 1 :])[likely].tolist():
            factor = _factor(y, varied[a] * varied[b], half)
            if factor is not None:
                return (a, b), (factor,), 0.0
    return None


def fit_quotient(y: Array, x: dict[int, Array], half: Array) -> Fitted | None:
    """Two sources and the factor of the quotient that nearly all rows are, rounded or cut off."""
    varied = {k: values for k, values in x.items() if _varies(values)}
    if len(varied) < 2:
        return None
    names, first = [*varied], np.column_stack([values[:FIRST] for values in varied.values()])
    start, near = y[:FIRST, None], np.maximum(4 * half[:FIRST, None], 1e-3 * np.abs(y[:FIRST, None]))
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(first != 0, 1 / first, np.nan)
    for n, a in enumerate(names):
        said = np.where(first[:, n, None] != 0, first[:, n, None] * inverse, np.nan)  # of each other one
        known = np.isfinite(said).sum(axis=0)
        said[:, n] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # where nothing is known
            ratio = np.nanmedian(start / said, axis=0)
            likely = np.nanmean(np.where(np.isnan(said), np.nan, np.abs(start - ratio * said) < near), axis=0)
        for b in np.array(names)[(likely >= _MULTIPLIED) & (known >= FIRST / 2)].tolist():
            some = varied[b] != 0
            quotient = varied[a][some] / varied[b][some]
            for shift in (0.0, 1.0):  # rounded, or cut off
                factor = _factor(y[some] + shift * half[some] * np.sign(y[some]), quotient, half[some])
                if factor is not None:
                    return (a, b), (factor,), 0.0
    return None


def is_share(array: pa.Array) -> bool:
    """Whether the numbers are shares that may be taken off: a few different ones, as of discounts, and never all."""
    values = np.unique(numbers(array))
    return pa.types.is_floating(array.type) and 2 <= len(values) <= _SHARES and bool(values[0] >= 0 and values[-1] < 1)


def fit_less(y: Array, x: dict[int, Array], shares: list[int], half: Array) -> tuple[Fitted, tuple[int, ...]] | None:
    """As `fit_product`, of one or two sources and what one of `shares` leaves of them; and which one."""
    for share in shares:
        left = 1.0 - x[share]
        others = {k: values for k, values in x.items() if k != share}
        if not _varies(x[share]):
            continue
        for k, values in others.items():
            if _varies(values) and (factor := _factor(y, values * left, half)) is not None:
                return ((k, share), (factor,), 0.0), (share,)
        if (found := fit_product(y / left, others, half / left)) is not None:
            return ((*found[0], share), found[1], 0.0), (share,)
    return None


def _varies(values: Array) -> bool:
    return bool((values != np.median(values)).mean() > _VARIED)


def _factor(y: Array, product: Array, half: Array) -> float | None:
    """What `product` times gives nearly all of `y` [n], with as few digits as will do: a rate such as 1.19."""
    some = product != 0
    if not some.any():
        return None
    ratio = float(np.median(y[some] / product[some]))
    near = np.maximum(half, 1e-9 * np.abs(y))
    for digits in range(_FACTOR_DIGITS):
        factor = round(ratio, digits)
        if factor and (np.abs(y - factor * product) < near).mean() >= _MULTIPLIED:
            return factor
    return None
