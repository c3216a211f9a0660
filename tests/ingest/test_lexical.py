"""The fast lexical pass says what a character-by-character automaton says."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.ingest.lexical import scan

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


@settings(max_examples=500, deadline=None)
@given(soup, st.sampled_from(",;\t"), st.booleans())
def test_rows_end_outside_quotes(text: str, delimiter: str, last: bool) -> None:
    text = text.replace(",", delimiter)
    mask = automaton(text, delimiter)
    ends = [i + 1 for i, c in enumerate(text) if c == "\n" and not mask[i]]
    expected = max(ends, default=0)
    if last:
        expected = 0 if mask and mask[-1] else len(text)
    block = scan(text.encode(), delimiter, last=last)
    if block is None:
        assert expected == 0
        return
    # Fewer rows than there are is fine while the file goes on: a stray quote among the last ones is seen too late.
    assert block.used == expected if last else block.used in ends
    assert block.quoted_newlines == any(c == "\n" and mask[i] for i, c in enumerate(text[: block.used]))


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
    block = scan(padded.encode(), ",", last=True)
    assert block is not None
    assert block.data == plain.encode()


def test_leading_zeros() -> None:
    for text, expected in {
        "1,0\n": False,
        "0,0.5\n": False,
        "0\n": False,
        "1,00\n": True,
        "01,1\n": True,
        "1,2\n0x1F,3\n": True,
        '1,"007"\n': True,
        "1, 007\n": True,
        "10:05,2024-01-02\n": False,
        "1,0": False,
        "": False,
    }.items():
        block = scan(text.encode(), ",", last=True)
        assert (block is not None and block.leading_zeros) == expected, text
