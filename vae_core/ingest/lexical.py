"""The lexical pass over CSV bytes: where rows end, which spaces surround values, how many have leading zeros.

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
Mask = npt.NDArray[np.bool_]

_NEWLINE, _RETURN, _QUOTE, _ZERO = b'\n\r"0'
_TILE = 1 << 18  # temporary arrays of a tile stay in the cache; many small steps would wait for the interpreter


@dataclass(frozen=True)
class Rows:
    """Whole rows of a CSV file, as they stand in it.

    Attributes:
        buffer: UTF-8 (or any superset of ASCII); the rows are at its front.
        used: how many bytes they take.
        quotes: where quotes open and close values, in turn.
    """

    buffer: bytes
    used: int
    quotes: Places

    @property
    def bytes(self) -> Bytes:
        """The rows, not copied."""
        return np.frombuffer(self.buffer, np.uint8, self.used)


@dataclass(frozen=True)
class Block:
    """Rows to be parsed.

    Attributes:
        data: UTF-8, without the spaces around values.
        leading_zeros: how many values start with 0 and, behind it, a digit, a letter or any other character from "0" on
            that isn't the delimiter; too high rather than too low.
    """

    data: Bytes
    leading_zeros: int


def take(buffer: bytes, delimiter: str, *, last: bool) -> Rows | None:
    """The whole rows at the front of `buffer`, which starts at the start of a row.

    Args:
        buffer: UTF-8 (or any superset of ASCII).
        delimiter: one ASCII character.
        last: the buffer reaches the end of the file, so its last row needs no line end.

    Returns:
        `None` when no row ends in the buffer; then it has to be longer, or a quote is never closed.
    """
    if b'"' not in buffer:
        used = len(buffer) if last else buffer.rfind(b"\n") + 1
        return Rows(buffer, used, np.empty(0, np.intp)) if used else None
    quotes = np.flatnonzero(np.frombuffer(buffer, np.uint8) == _QUOTE)
    used = _end(buffer, quotes, last=last)
    if not used or not _counting_holds(buffer, used, quotes, delimiter):
        quotes = _places_exactly(buffer, delimiter)
        used = _end(buffer, quotes, last=last)
    return Rows(buffer, used, quotes[: np.searchsorted(quotes, used)]) if used else None


def clean(rows: Rows, delimiter: str) -> Block:
    """The rows without runs of spaces that stand beside a delimiter or a line end, outside quotes."""
    data = rows.bytes
    blanks = [
        code
        for code in b" \t"
        if delimiter not in (" ", chr(code)) and rows.buffer.find(bytes([code]), 0, rows.used) >= 0
    ]
    quoted = len(rows.quotes) > 0
    zeros, spaces = _beside_edges(data, blanks, delimiter, quoted=quoted)
    if spaces:
        data = _stripped(data, blanks, rows.quotes, delimiter)
        zeros, _ = _beside_edges(data, [], delimiter, quoted=quoted)
    return Block(data, zeros)


def count_lines(data: Bytes) -> int:
    """How many lines end in these bytes."""
    return sum(int(np.count_nonzero(data[start : start + _TILE] == _NEWLINE)) for start in range(0, len(data), _TILE))


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


def _counting_holds(buffer: bytes, used: int, quotes: Places, delimiter: str) -> bool:
    """Whether every opening quote starts a value (or follows a quote) and every closing one ends it, spaces aside."""
    data = np.frombuffer(buffer, np.uint8, used)
    quotes = quotes[: np.searchsorted(quotes, used)]
    blanks = [code for code in b" \t" if delimiter not in (" ", chr(code))]
    return _edges_follow(data, quotes[0::2], -1, blanks, delimiter) and _edges_follow(
        data, quotes[1::2], 1, blanks, delimiter
    )


def _edges_follow(data: Bytes, places: Places, step: int, blanks: list[int], delimiter: str) -> bool:
    """Whether the next byte from each of these places on, in steps of 1 or -1, is an edge, blanks aside, or a quote."""
    end = 0 if step < 0 else len(data) - 1
    edges = [_RETURN, ord(delimiter), _QUOTE]
    while len(places := places[places != end] + step):
        beside = data[places]
        inner = ~_is_one(beside, _NEWLINE, *edges)
        edges = edges[:2]  # two quotes are a quote within a value only where nothing stands between them
        if not inner.any():
            return True
        if not (blanks and _is_one(beside[inner], *blanks).all()):
            return False
        places = places[inner]
    return True


def _beside_edges(data: Bytes, blanks: list[int], delimiter: str, *, quoted: bool) -> tuple[int, bool]:
    """How many zeros that start a code stand behind an edge or a quote, and whether a blank stands beside an edge.

    When one does, zeros aren't counted to the end: they are counted again in what is left without blanks.
    """
    zeros = int(len(data) > 1 and data[0] == _ZERO and bool(_goes_on(data[1:2], delimiter)))
    if blanks and (data[0] in blanks or data[-1] in blanks):
        return zeros, True
    for start in range(0, len(data), _TILE):
        tile = data[start : start + _TILE + 2]
        edge = _is_one(tile, _NEWLINE, ord(delimiter))
        if blanks:
            edge |= tile == _RETURN
            if ((edge[:-2] | edge[2:]) & _is_one(tile[1:-1], *blanks)).any():
                return zeros, True
        if quoted:
            edge |= tile == _QUOTE
        code = edge[:-2]
        code &= tile[1:-1] == _ZERO
        code &= _goes_on(tile[2:], delimiter)
        zeros += int(np.count_nonzero(code))
    return zeros, False


def _stripped(data: Bytes, blanks: list[int], quotes: Places, delimiter: str) -> Bytes:
    """The rows without runs of blanks that stand beside an edge of a value, outside quotes."""
    kept = np.empty(len(data), bool)
    runs = False
    for start in range(0, len(data), _TILE):
        before = min(start, 1)
        tile = data[start - before : start + _TILE + 1]
        edge, blank = _is_one(tile, _NEWLINE, _RETURN, ord(delimiter)), _is_one(tile, *blanks)
        runs = runs or bool((blank[1:] & blank[:-1]).any())
        blank[1:-1] &= edge[:-2] | edge[2:]  # not at the ends of the data, which are edges
        kept[start : start + _TILE] = ~blank[before : before + _TILE]
    if len(quotes):
        where = np.flatnonzero(~kept)
        kept[where[np.searchsorted(quotes, where) % 2 == 1]] = True
    if runs:
        _strip_runs(_is_one(data, *blanks), kept)
    return data[kept]


def _strip_runs(blank: Mask, kept: Mask) -> None:
    """Take from `kept` the blanks that stand beside one that isn't kept, from either side."""
    blank &= kept
    for step, front in ((1, ~kept[:-1] & blank[1:]), (-1, ~kept[1:] & blank[:-1])):
        where = np.flatnonzero(front) + (step > 0)
        while len(where):
            kept[where] = False
            where = where[(where > 0) & (where < len(kept) - 1)] + step
            where = where[blank[where] & kept[where]]


def _goes_on(after: Bytes, delimiter: str) -> Mask:
    """Which of these characters, behind a leading zero, make it the start of a code, or at least not a number alone."""
    going: Mask = after >= _ZERO
    if ord(delimiter) >= _ZERO:
        going &= after != ord(delimiter)
    return going


def _places_exactly(buffer: bytes, delimiter: str) -> Places:
    """Where quotes open and close values, in turn, by an automaton: a quote opens only where a value starts."""
    pattern = rb'(?:^|(?<=[%b\r\n]))[ \t]*("[^"]*(?:""[^"]*)*("|\Z))' % re.escape(delimiter.encode())
    places: list[int] = []
    for match in re.finditer(pattern, buffer):
        places.append(match.start(1))
        if match[2]:
            places.append(match.end(1) - 1)
    return np.array(places, np.intp)


def _is_one(data: Bytes, first: int, *others: int) -> Mask:
    """Which bytes are one of these codes."""
    found: Mask = data == first
    for code in others:
        found |= data == code
    return found
