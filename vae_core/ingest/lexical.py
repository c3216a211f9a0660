"""The lexical pass over CSV bytes: where rows end, which spaces surround values, whether numbers have leading zeros.

Arrow's reader parses fast but can't be asked these things, so they are answered beforehand with a few passes over the
bytes. Where quotes open and close is told by counting them; where quotes stand in the middle of values (`5" pipe`)
counting fails, which is noticed, and a slower automaton takes over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

_NEWLINE, _RETURN, _SPACE, _TAB, _QUOTE, _ZERO, _NINE, _X = b'\n\r \t"09x'
_TILE = 1 << 17  # temporary arrays of a tile stay in the cache


@dataclass(frozen=True)
class Block:
    """Whole rows of a CSV file.

    Attributes:
        data: UTF-8, without the spaces around values.
        used: how many bytes of the input the rows take.
        quoted_newlines: whether a value holds a line end.
        leading_zeros: whether a value may start with 0 and another digit, or with 0x.
    """

    data: bytes
    used: int
    quoted_newlines: bool
    leading_zeros: bool


def scan(buffer: bytes, delimiter: str, *, last: bool) -> Block | None:
    """Take the whole rows off the front of `buffer`, which starts at the start of a row.

    Args:
        buffer: UTF-8 (or any superset of ASCII).
        delimiter: one ASCII character.
        last: the buffer reaches the end of the file, so its last row needs no line end.

    Returns:
        `None` when no row ends in the buffer; then it has to be longer, or a quote is never closed.
    """
    if b'"' not in buffer:
        used = len(buffer) if last else buffer.rfind(b"\n") + 1
        return _block(buffer, used, np.empty(0, np.intp), delimiter) if used else None
    quotes = _places(buffer)
    used = _end(buffer, quotes, last=last)
    block = _block(buffer, used, quotes, delimiter) if used else None
    if block is None or not _counting_holds(block.data, quotes if len(block.data) == used else None, delimiter):
        quotes = _places_exactly(buffer, delimiter)
        used = _end(buffer, quotes, last=last)
        block = _block(buffer, used, quotes, delimiter) if used else None
    return block


def _end(buffer: bytes, quotes: Places, *, last: bool) -> int:
    """Where the last whole row ends: behind a line end outside quotes. 0 when there is none."""
    if last:
        return 0 if len(quotes) % 2 else len(buffer)
    end = len(buffer)
    while (end := buffer.rfind(b"\n", 0, end)) >= 0:
        before = int(np.searchsorted(quotes, end))
        if before % 2 == 0:
            return end + 1
        end = int(quotes[before - 1])  # the quote that opens what this line end stands in
    return 0


def _block(buffer: bytes, used: int, quotes: Places, delimiter: str) -> Block:
    data = buffer[:used] if used < len(buffer) else buffer
    rows = np.frombuffer(data, np.uint8)
    quotes = quotes[: np.searchsorted(quotes, used)]
    quoted = _any_inside(rows, quotes)
    zeros, spaces = _beside_edges(data, rows, delimiter)
    if spaces:
        rows = _stripped(rows, quotes, delimiter)
        if len(rows) < len(data):
            data = rows.tobytes()
            zeros, _ = _beside_edges(data, rows, delimiter)
    return Block(data, used, quoted, zeros)


def _any_inside(rows: Bytes, quotes: Places) -> bool:
    """Whether a line end stands inside quotes."""
    if not len(quotes):
        return False
    newlines = np.flatnonzero(rows == _NEWLINE)
    return bool((np.searchsorted(quotes, newlines) % 2).any())


def _stripped(rows: Bytes, quotes: Places, delimiter: str) -> Bytes:
    """The rows without runs of spaces that stand beside a delimiter or a line end, outside quotes."""
    blank = rows == _SPACE
    if delimiter != "\t":
        blank |= rows == _TAB
    where = np.flatnonzero(blank)
    breaks = np.flatnonzero(np.diff(where) != 1)
    first = where[np.concatenate(([0], breaks + 1))]
    final = where[np.concatenate((breaks, [len(where) - 1]))]
    edges = _set(_NEWLINE, _RETURN, ord(delimiter))
    removed = (first == 0) | edges[rows[first - 1]] | (final == len(rows) - 1)
    removed |= edges[rows[np.minimum(final + 1, len(rows) - 1)]]
    beside = np.flatnonzero(removed)
    removed[beside] = np.searchsorted(quotes, first[beside]) % 2 == 0
    if not removed.any():
        return rows
    keep = np.ones(len(rows), bool)
    keep[where[np.repeat(removed, final - first + 1)]] = False
    return rows[keep]


def _beside_edges(data: bytes, rows: Bytes, delimiter: str) -> tuple[bool, bool]:
    """Whether a value may start with a zero that goes on, and whether a space may stand beside an edge of a value."""
    blanks = [code for code in b" \t" if delimiter not in (" ", chr(code)) and bytes([code]) in data]
    quoted = b'"' in data
    edges = _set(_NEWLINE, _RETURN, ord(delimiter))
    zeros = len(rows) > 1 and rows[0] == _ZERO and _goes_on(rows[1:2])
    spaces = bool(blanks) and (rows[0] in blanks or rows[-1] in blanks)
    for start in range(0, len(rows), _TILE):
        tile = rows[start : start + _TILE + 2]
        for blank in () if spaces else blanks:
            found = np.flatnonzero(tile[1:-1] == blank)
            spaces |= bool(edges[tile[found]].any() or edges[tile[found + 2]].any())
        if not zeros:
            before = tile[:-2]
            edge = before == ord(delimiter)
            edge |= before == _NEWLINE
            if quoted:
                edge |= before == _QUOTE
            edge &= tile[1:-1] == _ZERO
            zeros = bool(edge.any()) and _goes_on(tile[np.flatnonzero(edge) + 2])
    return zeros, spaces


def _goes_on(after: Bytes) -> bool:
    """Whether one of these characters, each behind a leading zero, makes it the start of a code."""
    return bool((((after >= _ZERO) & (after <= _NINE)) | (after | 32 == _X)).any())


def _places(buffer: bytes) -> Places:
    return np.flatnonzero(np.frombuffer(buffer, np.uint8) == _QUOTE)


def _counting_holds(data: bytes, quotes: Places | None, delimiter: str) -> bool:
    """Whether every opening quote starts a value (or follows a quote) and every closing one ends it."""
    rows = np.frombuffer(data, np.uint8)
    where = _places(data) if quotes is None else quotes[: np.searchsorted(quotes, len(data))]
    edges = _set(_NEWLINE, _RETURN, _QUOTE, ord(delimiter))
    opening, closing = where[0::2], where[1::2]
    starts = edges[rows[opening - 1]]
    ends = edges[rows[np.minimum(closing + 1, len(rows) - 1)]]
    return bool(starts[1:].all() and (starts[:1] | (opening[:1] == 0)).all() and ends.all())


def _places_exactly(buffer: bytes, delimiter: str) -> Places:
    """Where quotes open and close values, in turn, by an automaton: a quote opens only where a value starts."""
    pattern = rb'(?:^|(?<=[%b\r\n]))[ \t]*("[^"]*(?:""[^"]*)*("|\Z))' % re.escape(delimiter.encode())
    places: list[int] = []
    for match in re.finditer(pattern, buffer):
        places.append(match.start(1))
        if match[2]:
            places.append(match.end(1) - 1)
    return np.array(places, np.intp)


def _set(*codes: int) -> npt.NDArray[np.bool_]:
    """A table that tells whether a byte is one of `codes`."""
    table = np.zeros(256, bool)
    table[list(codes)] = True
    return table
