"""Identifiers: not learned but made anew, unique over a whole dataset, in the form that the source has."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.bijection import MAX_SIZE, mix, permute
from vae_core.codec.forms import is_text
from vae_core.codec.storage import Array, Ints
from vae_core.errors import ConfigError

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CLASSES = ("0123456789", "0123456789abcdef", "0123456789ABCDEF", "abcdefghijklmnopqrstuvwxyz",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz0123456789",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")  # fmt: skip
_SAMPLE = 100_000  # identifiers that are looked at to find their form


@dataclass(frozen=True)
class Numbering:
    """Integers start + step·k: k is the row itself when dense, else a keyed bijection of [0, size) of it.

    Rows past `size` go on in the next range of the same size, so there are always enough.
    """

    tag: ClassVar[str] = "numbering"
    start: int
    step: int
    size: int
    dense: bool

    @classmethod
    def fit(cls, values: Ints, rows: int) -> Numbering:
        """The numbering of `values` [m], seen in a source of `rows` rows."""
        ordered = np.unique(values)
        start, stop = int(ordered[0]), int(ordered[-1])
        step = int(np.gcd.reduce(np.diff(ordered))) if len(ordered) > 1 and stop - start < 2**62 else 1
        size = min((stop - start) // step + 1, MAX_SIZE)
        return cls(start, step, size, 2 * max(rows, len(ordered)) >= size)

    def numbers(self, first: int, rows: int, seed: int) -> Ints:
        """The integers of rows first..first+rows-1, int64 [rows]."""
        row = np.arange(first, first + rows, dtype=np.int64)
        if not self.dense:
            lap, within = np.divmod(row, self.size)
            row = lap * self.size + permute(within.astype(np.uint64), self.size, seed).astype(np.int64)
        return self.start + self.step * row

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"start": self.start, "step": self.step, "size": self.size, "dense": self.dense}


@dataclass(frozen=True)
class Pattern:
    """Text of a fixed length, each position drawn from its own characters.

    The longest run of positions whose combinations stay below 2^62 carries a keyed bijection of the row, which makes
    the text unique; further positions are a hash of the row. Past the last combination a lap number is added.
    """

    tag: ClassVar[str] = "pattern"
    alphabets: tuple[str, ...]

    @classmethod
    def fit(cls, texts: list[str]) -> Pattern:
        """The narrowest class of characters at each position of `texts`, which have one length."""
        if all(_UUID.fullmatch(text) for text in texts):
            digits = _CLASSES[2] if any(text != text.lower() for text in texts) else _CLASSES[1]
            shape = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx"
            variant = digits[8:12]
            return cls(tuple({"x": digits, "y": variant, "-": "-", "4": "4"}[c] for c in shape))
        return cls(tuple(_alphabet(set(column)) for column in zip(*texts, strict=True)))

    def texts(self, first: int, rows: int, seed: int) -> Array:
        """The texts of rows first..first+rows-1, an array of str [rows]."""
        row = np.arange(first, first + rows, dtype=np.uint64)
        size = 1
        keyed = 0
        for alphabet in reversed(self.alphabets):
            if size * len(alphabet) > MAX_SIZE:
                break
            size *= len(alphabet)
            keyed += 1
        lap, within = np.divmod(row, np.uint64(size))
        number = permute(within, size, seed)
        free = mix(row, seed + 0x5EED)
        left = MAX_SIZE  # combinations that the hash still tells apart
        length = len(self.alphabets)
        codes = np.empty((rows, length), dtype=np.uint32)
        for place in reversed(range(length)):
            letters = np.array([ord(c) for c in self.alphabets[place]], dtype=np.uint32)
            radix = np.uint64(len(letters))
            if place >= length - keyed:
                number, digit = np.divmod(number, radix)
            else:
                left //= len(letters)
                if left < MAX_SIZE >> 32:
                    free, left = mix(row, seed + 0x5EED + place), MAX_SIZE
                free, digit = np.divmod(free, radix)
            codes[:, place] = letters[digit.astype(np.int64)]
        texts = codes.view(f"<U{length}").reshape(rows)
        if lap.any():
            texts = np.where(lap > 0, np.char.add(texts, lap.astype(str)), texts)
        return np.asarray(texts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"alphabets": list(self.alphabets)}


@dataclass(frozen=True)
class Labels:
    """A common prefix and a number, padded with zeros to `width` digits."""

    tag: ClassVar[str] = "labels"
    prefix: str
    width: int
    numbering: Numbering

    def texts(self, first: int, rows: int, seed: int) -> Array:
        """The texts of rows first..first+rows-1, an array of str [rows]."""
        if not rows:  # numpy pads no empty array
            return np.empty(0, dtype=str)
        digits = np.char.zfill(self.numbering.numbers(first, rows, seed).astype(str), self.width)
        return np.asarray(np.char.add(self.prefix, digits))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"prefix": self.prefix, "width": self.width, "numbering": self.numbering.to_dict()}


@dataclass(frozen=True)
class Identifier:
    """An identifier column: its type, and how its numbers or texts are made."""

    tag: ClassVar[str] = "identifier"
    name: str
    type: pa.DataType
    make: Numbering | Pattern | Labels

    @classmethod
    def fit(cls, array: pa.Array, name: str, rows: int) -> Identifier:
        """The form of the identifiers in `array`, which comes from a source of `rows` rows.

        Raises:
            ConfigError: identifiers of this type can't be made.
        """
        kind = array.type
        present = array.drop_null()
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if is_text(plain):
            texts = [str(x) for x in present.slice(0, _SAMPLE).cast(plain).to_pylist()]
            return cls(name, kind, _make_text(texts, rows))
        if storage.is_integral(plain):
            return cls(name, kind, Numbering.fit(storage.integers(present.cast(plain)), rows))
        if pa.types.is_floating(plain) or pa.types.is_decimal(plain):
            values = present.cast(pa.float64()).to_numpy(zero_copy_only=False)
            if len(values) and (np.abs(values) < 2**53).all() and (values == np.floor(values)).all():
                return cls(name, kind, Numbering.fit(values.astype(np.int64), rows))
        raise ConfigError(
            f"column {name!r}: identifiers of type {kind} can't be made; set another kind, or drop the column"
        )

    def fill(self, first: int, rows: int, seed: int) -> pa.Array:
        """The identifiers of rows first..first+rows-1, in the column's type.

        Raises:
            ConfigError: the type has no room for so many.
        """
        plain = self.type.value_type if pa.types.is_dictionary(self.type) else self.type
        if isinstance(self.make, Numbering):
            stored = plain if storage.is_integral(plain) else pa.int64()
            numbers = self.make.numbers(first, rows, seed)
            array = storage.from_integers(numbers, None, stored)
            if rows and not np.array_equal(storage.integers(array), numbers):
                raise ConfigError(f"column {self.name!r}: {self.type} has no room for {first + rows:,} identifiers")
        else:
            array = pa.array(self.make.texts(first, rows, seed).astype(object), type=pa.string())
        return storage.as_type(array, self.type)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "form": self.tag,
            "name": self.name,
            "type": storage.type_to_json(self.type),
            "make": {"tag": self.make.tag, **self.make.to_dict()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Identifier:
        """Inverse of `to_dict`."""
        made = {key: value for key, value in data["make"].items() if key != "tag"}
        make: Numbering | Pattern | Labels
        match data["make"]["tag"]:
            case Numbering.tag:
                make = Numbering(**made)
            case Pattern.tag:
                make = Pattern(tuple(made["alphabets"]))
            case _:
                make = Labels(made["prefix"], made["width"], Numbering(**made["numbering"]))
        return cls(data["name"], storage.type_from_json(data["type"]), make)


def _make_text(texts: list[str], rows: int) -> Pattern | Labels:
    if not texts:
        return Labels("", 1, Numbering(0, 1, MAX_SIZE, True))
    if all(_UUID.fullmatch(text) for text in texts):
        return Pattern.fit(texts)
    prefix = _common_prefix(texts)
    stem = prefix.rstrip("0123456789")
    tails = [text[len(stem) :] for text in texts]
    lengths = {len(tail) for tail in tails}
    numbered = all(tail.isascii() and tail.isdigit() and len(tail) <= 18 for tail in tails)
    if numbered and (len(lengths) == 1 or not any(tail[0] == "0" and len(tail) > min(lengths) for tail in tails)):
        numbering = Numbering.fit(np.array([int(tail) for tail in tails], dtype=np.int64), rows)
        return Labels(stem, min(lengths), numbering)
    if len(lengths) == 1:
        pattern = Pattern.fit(texts)
        if math.prod(len(a) for a in pattern.alphabets) >= len(texts):
            return pattern
    return Labels(prefix, len(str(max(rows, len(texts)))), Numbering(0, 1, MAX_SIZE, True))


def _common_prefix(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    same = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]


def _alphabet(seen: set[str]) -> str:
    if len(seen) == 1:
        return next(iter(seen))
    for alphabet in _CLASSES:
        if seen <= set(alphabet):
            return alphabet
    return "".join(sorted(seen))
