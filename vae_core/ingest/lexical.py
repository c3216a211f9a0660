"""The lexical pass over CSV bytes: where rows end, which spaces surround values, whether numbers have leading zeros.

Arrow's reader parses fast but can't be asked these things, so they are answered beforehand with a few passes of numpy
over a block that fits the cache. What stands inside quotes is told by the parity of the quotes before it; where quotes
stand in the middle of values (`5" pipe`), parity fails, which is noticed, and a slower automaton takes over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_NEWLINE, _RETURN, _SPACE, _TAB, _QUOTE, _ZERO = b'\n\r \t"0'


@dataclass(frozen=True)
class Block:
    """Whole rows of a CSV file.

    Attributes:
        data: uint8 [bytes], without the spaces around values.
        used: how many bytes of the input the rows take.
        newlines: line ends in `data`.
        quoted_newlines: whether a value holds a line end.
        leading_zeros: whether a value may start with 0 and another digit, or with 0x.
    """

    data: Bytes
    used: int
    newlines: int
    quoted_newlines: bool
    leading_zeros: bool


def scan(buffer: Bytes, delimiter: str, *, last: bool) -> Block | None:
    """Take the whole rows off the front of `buffer`, which starts at the start of a row.

    Args:
        buffer: uint8 [bytes], UTF-8 (or any superset of ASCII).
        delimiter: one ASCII character.
        last: the buffer reaches the end of the file, so its last row needs no line end.

    Returns:
        `None` when no row ends in the buffer; then it has to be longer, or a quote is never closed.
    """
    quotes = buffer == _QUOTE
    if not quotes.any():
        used = len(buffer) if last else _last(buffer == _NEWLINE) + 1
        return _block(buffer[:used], used, None, delimiter) if used else None
    inside = np.cumsum(quotes, dtype=np.uint8) & 1
    block = _quoted(buffer, inside.view(bool), delimiter, last)
    if block is None or not _parity_holds(block.data, delimiter):
        block = _quoted(buffer, _inside_exactly(buffer, delimiter), delimiter, last)
    return block


def _quoted(buffer: Bytes, inside: Mask, delimiter: str, last: bool) -> Block | None:
    used = _last((buffer == _NEWLINE) & ~inside) + 1
    if last and not inside[-1]:
        used = len(buffer)
    elif last:
        return None
    return _block(buffer[:used], used, inside[:used], delimiter) if used else None


def _block(rows: Bytes, used: int, inside: Mask | None, delimiter: str) -> Block:
    if delimiter != " ":
        rows, inside = _stripped(rows, inside, delimiter)
    newline = rows == _NEWLINE
    quoted = bool((newline & inside).any()) if inside is not None else False
    edge = newline | (rows == ord(delimiter))
    if inside is not None:
        edge |= rows == _QUOTE
    edge[:-1] &= rows[1:] == _ZERO
    edge[-1:] = False
    zeros = np.flatnonzero(edge) + 2
    if len(rows) and rows[0] == _ZERO:
        zeros = np.append(zeros, 1)
    after = rows[zeros[zeros < len(rows)]]
    leading = bool((((after >= _ZERO) & (after <= _ZERO + 9)) | (after | 32 == ord("x"))).any())
    return Block(rows, used, int(np.count_nonzero(newline)), quoted, leading)


def _stripped(rows: Bytes, inside: Mask | None, delimiter: str) -> tuple[Bytes, Mask | None]:
    """Remove runs of spaces that stand beside a delimiter or a line end, outside quotes."""
    blank = rows == _SPACE
    if delimiter != "\t":
        blank |= rows == _TAB
    where = np.flatnonzero(blank)
    if not len(where):
        return rows, inside
    breaks = np.flatnonzero(np.diff(where) != 1)
    first = where[np.concatenate(([0], breaks + 1))]
    final = where[np.concatenate((breaks, [len(where) - 1]))]
    edges = np.zeros(256, bool)
    edges[[_NEWLINE, _RETURN, ord(delimiter)]] = True
    removed = (first == 0) | edges[rows[first - 1]] | (final == len(rows) - 1)
    removed |= edges[rows[np.minimum(final + 1, len(rows) - 1)]]
    if inside is not None:
        removed &= ~inside[first]
    if not removed.any():
        return rows, inside
    keep = np.ones(len(rows), bool)
    keep[where[np.repeat(removed, final - first + 1)]] = False
    return rows[keep], None if inside is None else inside[keep]


def _parity_holds(rows: Bytes, delimiter: str) -> bool:
    """Whether every opening quote starts a value (or follows a quote) and every closing one ends it."""
    where = np.flatnonzero(rows == _QUOTE)
    edges = np.zeros(256, bool)
    edges[[_NEWLINE, _RETURN, _QUOTE, ord(delimiter)]] = True
    opening, closing = where[0::2], where[1::2]
    starts = (opening == 0) | edges[rows[opening - 1]]
    ends = (closing == len(rows) - 1) | edges[rows[np.minimum(closing + 1, len(rows) - 1)]]
    return bool(starts.all() and ends.all())


def _inside_exactly(buffer: Bytes, delimiter: str) -> Mask:
    """Mask of what stands inside quotes, by an automaton: a quote opens only where a value starts."""
    edge = re.escape(delimiter.encode()) + rb"\r\n"
    pattern = rb'(?:^|(?<=[%b]))[ \t]*("[^"]*(?:""[^"]*)*(?:"|\Z))' % edge
    steps = np.zeros(len(buffer) + 1, np.int8)
    for match in re.finditer(pattern, buffer.tobytes()):
        start, end = match.span(1)
        closed = end - start > 1 and buffer[end - 1] == _QUOTE
        steps[start] += 1
        steps[end - 1 if closed else end] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool)


def _last(mask: Mask) -> int:
    """Index of the last true element, −1 when there is none. Looks at the end first."""
    for end in range(len(mask), 0, -65536):
        start = max(0, end - 65536)
        found = np.flatnonzero(mask[start:end])
        if len(found):
            return start + int(found[-1])
    return -1
