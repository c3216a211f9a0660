"""How a delimited text file is written: encoding, delimiter, header. Told from its first bytes, or by the user."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from dataclasses import dataclass

from vae_core.config import SourceConfig
from vae_core.errors import ConfigError, SourceError
from vae_core.ingest.types import check_names

SAMPLE = 1 << 18
_DELIMITERS = "\t;|,: "
_FOREIGN = re.compile(rb'[^\s,;"]*[\x80-\xff][^\s,;"]*')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY_MAGIC = {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"%PDF": "PDF", b"SQLite": "SQLite", b"\x89PNG": "PNG"}
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1a"))
_LATIN = ("cp1252", "cp1250")
_LEGACY = [*_LATIN, "cp1251", "cp1253", "koi8_r", "shift_jis", "gb18030", "big5", "euc_jp", "euc_kr"]


@dataclass(frozen=True)
class Dialect:
    """How the rows of a file are written.

    Attributes:
        delimiter: one character.
        decimal_point: `.`, or `,` beside another delimiter.
        names: the columns.
        header: how many bytes of the file, as UTF-8, come before the first row of data.
        header_lines: how many lines those are.
        note: what the user should know, or empty.
    """

    delimiter: str
    decimal_point: str
    names: tuple[str, ...]
    header: int
    header_lines: int
    note: str = ""


def sniff_encoding(sample: bytes, label: str, *, complete: bool) -> str:
    """The encoding of a text file, from its first bytes.

    Raises:
        SourceError: the bytes are no text.
    """
    for bom, encoding in _BOMS:
        if sample.startswith(bom):
            return encoding
    for magic, name in _BINARY_MAGIC.items():
        if sample.startswith(magic):
            raise SourceError(f"{label}: holds {name} data, not text; name it so, or set source.format")
    if b"\0" in sample:
        even, odd = sample[0::2].count(0), sample[1::2].count(0)
        if max(even, odd) > 0.3 * len(sample) / 2 and min(even, odd) < 0.02 * len(sample):
            return "utf-16-le" if odd > even else "utf-16-be"
        raise SourceError(f"{label}: is a binary file, not text")
    if len(sample) - len(sample.translate(None, _CONTROL)) > 0.01 * len(sample):
        raise SourceError(f"{label}: is a binary file, not text")
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        cut_short = not complete and error.start >= len(sample) - 4
        return "utf-8" if cut_short else guess_encoding(sample)
    return "utf-8"


def guess_encoding(sample: bytes) -> str:
    """The likeliest encoding of text that isn't UTF-8, told from its words with characters beyond ASCII."""
    words = b"\n".join(_FOREIGN.findall(sample)[:5000])
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        best = None
    else:
        best = from_bytes(words, cp_isolation=_LEGACY).best()
    if best is not None and best.encoding not in _LATIN:
        return best.encoding
    # The encodings of Latin script differ in a few letters, which are signs in the other: fewer signs inside words win.
    signs = {}
    for encoding in _LATIN:
        try:
            signs[encoding] = sum(not (c.isascii() or c.isalpha()) for c in words.decode(encoding))
        except UnicodeDecodeError:
            continue
    return min(signs, key=lambda encoding: signs[encoding]) if signs else "latin-1"


def checked_encoding(name: str) -> str:
    """`name` if Python knows it as an encoding.

    Raises:
        ConfigError: it doesn't.
    """
    try:
        codecs.lookup(name)
    except LookupError:
        raise ConfigError(f"source.encoding: {name!r} isn't an encoding; utf-8, utf-16, cp1252, …") from None
    return name


def sniff(text: str, config: SourceConfig, label: str, *, complete: bool, delimiter: str | None = None) -> Dialect:
    """The dialect of a file, from the text it begins with.

    Args:
        text: the sample.
        config: what the user said; the rest is inferred.
        label: names the file in errors.
        complete: the sample is the whole file.
        delimiter: of the files before this one.

    Raises:
        SourceError: the file is empty, or column names are missing or repeated.
        ConfigError: the delimiter isn't one character.
    """
    given = config.delimiter or delimiter or ("\t" if config.format == "tsv" else None)
    if given is not None and (len(given) != 1 or not given.isascii() or given in '\n\r"'):
        raise ConfigError(f"source.delimiter: {given!r} isn't one plain character")
    if not text.strip():
        raise SourceError(f"{label}: the file is empty")
    chosen = given or _sniff_delimiter(text, complete=complete, header=config.header)
    rows = _rows(text, chosen, complete=complete)
    if not rows:
        raise SourceError(f"{label}: no line ends within the first {SAMPLE >> 10} KB: is it a table of text?")
    header, data = [cell.strip() for cell in rows[0]], rows[1:]
    decimal_point = "," if chosen != "," and _has_comma_numbers(data or rows) else "."
    note = ""
    headed = config.header
    if headed and "header" not in config.model_fields_set and _looks_like_data(header, data, config.null_values):
        headed = False
        note = f"{label}: the first line looks like data, not names; set source.header: true if it names the columns"
    names = config.names if config.names is not None else _with_row_names(header) if headed else None
    if names is None:
        names = [f"column_{number}" for number in range(1, len(header) + 1)]
    elif len(names) != len(header) and (headed or _usual_width(rows) != len(names)):
        raise SourceError(f"{label}: source.names has {len(names)} names, the first line has {len(header)} fields")
    check_names(names, label, "; name the columns with source.names" if headed else "")
    size, lines = _first_row_size(text) if headed else (0, 0)
    return Dialect(chosen, decimal_point, tuple(names), size, lines, note)


def _with_row_names(header: list[str]) -> list[str]:
    """The header with a name for a first column that has none, the one pandas gives: R and pandas save row names so."""
    if header[0] or len(header) == 1:
        return header
    names = itertools.chain(["Unnamed: 0"], (f"Unnamed: 0.{count}" for count in itertools.count(1)))
    return [next(name for name in names if name not in header), *header[1:]]


def _rows(text: str, delimiter: str, *, complete: bool) -> list[list[str]]:
    """The first rows of the sample; a last one that the sample cuts short is left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != " ")
    rows = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > 100:
                return rows
    except csv.Error:
        return rows
    return rows if complete else rows[:-1]


def _sniff_delimiter(text: str, *, complete: bool, header: bool) -> str:
    """The character that cuts the most rows into the same number of fields, the first row's number above all."""
    best, best_score = ",", (False, 0.0, 0)
    for delimiter in _DELIMITERS:
        rows = _rows(text, delimiter, complete=complete)
        if not rows:
            continue
        width, count = Counter(len(row) for row in rows).most_common(1)[0]
        share = count / len(rows)
        if width < 2 or (delimiter in ": " and (share < 0.95 or len(rows) < 3)):
            continue
        # A space or a colon inside values is common: they count only where nothing else cuts the rows.
        if delimiter in ": " and best_score[1] >= 0.8:
            continue
        score = (not header or len(rows[0]) == width, round(share, 1), width)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _usual_width(rows: list[list[str]]) -> int:
    return Counter(len(row) for row in rows).most_common(1)[0][0]


def _has_comma_numbers(rows: list[list[str]]) -> bool:
    """Whether numbers are written with a decimal comma: some column holds such numbers, none one with a point."""
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(bool(_COMMA_NUMBER.fullmatch(cell)) for cell in cells)
    return commas > 0 and not any("." in cell and _NUMBER.fullmatch(cell) for cell in cells)


def _looks_like_data(header: list[str], rows: list[list[str]], nulls: list[str]) -> bool:
    """Whether a first line is data: numbers in every column of numbers, which aren't years or a sequence."""
    rows = [row for row in rows if len(row) == len(header)][:100]
    if len(rows) < 2:
        return False
    numeric = [
        index
        for index in range(len(header))
        if all(cell in nulls or _NUMBER.fullmatch(cell) for cell in (row[index].strip() for row in rows))
        and any(_NUMBER.fullmatch(row[index].strip()) for row in rows)
    ]
    cells = [header[index] for index in numeric]
    if not cells or not all(_NUMBER.fullmatch(cell) for cell in cells):
        return False
    if not all(cell.isdigit() for cell in cells):
        return True
    numbers = [int(cell) for cell in cells]
    years = all(1800 <= number <= 2200 for number in numbers)
    sequence = all(b - a == 1 for a, b in itertools.pairwise(numbers))
    return not (years or sequence)


def _first_row_size(text: str) -> tuple[int, int]:
    """Bytes (as UTF-8) and lines that the header and the empty lines before it take."""
    end = 0
    while True:
        newline = text.find("\n", end)
        if newline < 0:
            return len(text.encode()), text.count("\n") + 1
        end = newline + 1
        if text[:end].strip() and text.count('"', 0, end) % 2 == 0:
            return len(text[:end].encode()), text.count("\n", 0, end)
