"""The fast lexical pass says what a character-by-character automaton says."""

from __future__ import annotations

import csv
import io
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vae_core.ingest import lexical
from vae_core.ingest.lexical import Block, clean, count_lines, take

# Few characters, so that every neighbourhood of quotes, edges and spaces comes up.
soup = st.text(st.sampled_from('"",,\n\n  a0x7\t\r'), max_size=60).map(lambda text: text.replace("\r", "\r\n"))


def automaton(text: str, delimiter: str) -> list[bool]:
    """For each character, whether it stands inside quotes (the opening one does, the closing one doesn't)."""
    inside, fresh, mask = False, True, []
    position = 0
    while position < len(text):
        character = text[position]
        if inside:
            if text[position : position + 2] == '""':
                mask += [True, True]
                position += 2
                continue
            inside = character != '"'
        elif fresh and character == '"':
            inside = True
        mask.append(inside)
        blank = character in " \t" and character != delimiter
        fresh = character in (delimiter, "\n", "\r") or (fresh and blank)
        position += 1
    return mask


def cleaned(text: str, delimiter: str, tile: int = 1 << 18) -> Block | None:
    """The rows of a whole file, as they are parsed, looked at in tiles of so many bytes."""
    rows = take(text.encode(), delimiter, last=True)
    with patch.object(lexical, "_TILE", tile):
        return None if rows is None else clean(rows, delimiter)


@settings(max_examples=500, deadline=None)
@example(text='""\t","\r\n', delimiter=",", last=False)
@given(soup, st.sampled_from(",;\t"), st.booleans())
def test_rows_end_outside_quotes(text: str, delimiter: str, last: bool) -> None:
    text = text.replace(",", delimiter)
    mask = automaton(text, delimiter)
    ends = [i + 1 for i, c in enumerate(text) if c == "\n" and not mask[i]]
    expected = max(ends, default=0)
    if last:
        expected = 0 if mask and mask[-1] else len(text)
    rows = take(text.encode(), delimiter, last=last)
    if rows is None:
        assert expected == 0
        return
    # Fewer rows than there are is fine while the file goes on: a stray quote among the last ones is seen too late.
    assert rows.used == expected if last else rows.used in ends


@settings(max_examples=500, deadline=None)
@given(soup, st.sampled_from(",;\t"), st.integers(1, 70))
def test_blanks_go_that_touch_an_edge_outside_quotes(text: str, delimiter: str, tile: int) -> None:
    text = text.replace(",", delimiter)
    mask = automaton(text, delimiter)
    blank = [c in " \t" and c != delimiter and not inside for c, inside in zip(text, mask, strict=True)]
    edge = [c in "\r\n" + delimiter for c in text]
    removed = [False] * len(text)
    for places, beside in ((range(len(text)), -1), (range(len(text) - 1, -1, -1), 1)):
        for i in places:
            at_end = not 0 <= i + beside < len(text)
            removed[i] |= blank[i] and (at_end or edge[i + beside] or removed[i + beside])
    block = cleaned(text, delimiter, tile)
    if block is not None:
        assert block.data.tobytes().decode() == "".join(c for c, gone in zip(text, removed, strict=True) if not gone)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.text(st.sampled_from('a0,"\n '), max_size=5), min_size=2, max_size=3), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_only_spaces_around_values_go(rows: list[list[str]], spaces: int) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows(rows)
    pad = " " * spaces
    plain = text.getvalue()
    mask = automaton(plain, ",")
    padded = "".join(
        pad + c + pad if c == "," and not mask[i] else pad + c if c == "\n" and not mask[i] else c
        for i, c in enumerate(plain)
    )
    block = cleaned(padded, ",")
    assert block is not None
    assert block.data.tobytes() == plain.encode()


@pytest.mark.parametrize("tile", [1, 2, 3, 1 << 18])
def test_leading_zeros(tile: int) -> None:
    for text, expected in {
        "1,0\n": 0,
        "0,0.5\n": 0,
        "0\n": 0,
        "1,00\n": 1,
        "01,1\n": 1,
        "01,1,02\n03,0\n": 3,
        "1,2\n0x1F,3\n": 1,
        '1,"007"\n': 1,
        "1, 007\n": 1,
        "10:05,2024-01-02\n": 0,
        "0a,0-,0.1\n": 1,
        "1,0": 0,
        "": 0,
        "  ": 0,
    }.items():
        block = cleaned(text, ",", tile)
        assert (0 if block is None else block.leading_zeros) == expected, text


def test_a_delimiter_behind_a_zero_makes_no_code() -> None:
    block = cleaned("0;1;00\n0;0;5\n", ";")
    assert block is not None
    assert block.leading_zeros == 1


def test_lines_are_counted_across_tiles() -> None:
    data = b"a\n\nb\r\n" * 50
    with patch.object(lexical, "_TILE", 7):
        assert count_lines(np.frombuffer(data, np.uint8)) == data.count(b"\n")
