"""What every reader of a source is, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from vae_core.config import SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest.partitions import Partitions
from vae_core.ingest.sources import SourceFile
from vae_core.store import digest_of


@dataclass(frozen=True)
class Wishes:
    """What the user said about columns that a reader has to know.

    Attributes:
        dropped: columns that aren't read.
        text: columns whose values are levels or words whatever they look like, so that numbers may stand among them.
    """

    dropped: frozenset[str] = frozenset()
    text: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rejected:
    """A row that isn't one: its place, what is wrong, and its text."""

    file: str
    line: int
    fault: str
    text: str


class Reader(Protocol):
    """A source of rows.

    Attributes:
        label: what the user knows the source as; no credentials.
        rejected: malformed rows found so far; whoever reads the tables takes them out.
        notes: what the user should know.
    """

    label: str
    rejected: deque[Rejected]
    notes: list[str]

    @property
    def columns(self) -> list[str]:
        """All columns of the source, dropped ones included; known with the first table."""

    def digest(self) -> str:
        """sha256, hexadecimal, of the content."""

    def tables(self) -> Iterator[pa.Table]:
        """All rows, in order, in tables of bounded size and of one schema.

        Raises:
            TypesWidened: call `tables` again, and forget the ones it gave before.
            SourceError: the content can't be read as a table.
        """


class FilesReader(ABC):
    """What the readers of files share."""

    def __init__(self, files: list[SourceFile], config: SourceConfig, wishes: Wishes) -> None:
        self.label = files[0].label if len(files) == 1 else str(config.path)
        self.rejected: deque[Rejected] = deque()
        self.notes: list[str] = []
        self._names: list[str] = []
        self._files = files
        self._config = config
        self._wishes = wishes
        self._stamps = {file: file.stamp() for file in files}
        self._partitions = Partitions(files)

    @property
    def columns(self) -> list[str]:
        """All columns of the files and of their folders."""
        return list(dict.fromkeys([*self._names, *self._partitions.types]))

    def digest(self) -> str:
        """sha256 over the files' bytes, in order, and what their folders say."""
        digests = [file.digest() for file in self._files]
        if content := self._partitions.content():
            return digest_of([digests, list(self._partitions.types), content])
        return digests[0] if len(digests) == 1 else digest_of(digests)

    def tables(self) -> Iterator[pa.Table]:
        """All rows; see `Reader.tables`."""
        yield from self._tables()
        for file, stamp in self._stamps.items():
            if file.stamp() != stamp:
                raise SourceError(f"{file.label}: was changed while it was read; run again when it is finished")

    @abstractmethod
    def _tables(self) -> Iterator[pa.Table]: ...

    def _whole(self, file: SourceFile, table: pa.Table) -> pa.Table:
        """Rows of `file` with what its folders say of them."""
        return self._partitions.add(file, table, self._wishes.dropped)


_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_CODE = r"^[+-]?0[0-9xX]"
_MIXED_SHARE = 0.9


class MixedColumn:
    """Tells a column of numbers spoiled by a few words from a column of words.

    A column whose text is a number in at least nine of ten rows and something else in others is most likely numeric:
    reading it as categories would be a silent mistake. Numbers written like codes (`007`) say that it isn't numeric.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._rows = self._present = self._numbers = 0
        self._codes = False
        self._odd: tuple[int, str] | None = None

    def add(self, column: pa.ChunkedArray) -> None:
        """Count the values of one table's column of strings."""
        if self._codes:
            return
        offset, self._rows = self._rows, self._rows + len(column)
        self._present += len(column) - column.null_count
        # A look at a few values spares the pattern on tables where the column plainly holds words.
        few = pc.match_substring_regex(column.slice(0, 200), _NUMBER)
        plain = len(few) - few.null_count >= 50 and not pc.any(few).as_py()
        numeric = few if plain else pc.match_substring_regex(column, _NUMBER)
        if not plain:
            self._numbers += pc.sum(numeric).as_py() or 0
            self._codes = bool(pc.any(pc.match_substring_regex(pc.filter(column, numeric), _CODE)).as_py())
        if self._odd is None and (first := pc.index(numeric, False).as_py()) >= 0:
            self._odd = (offset + first + 1, column[first].as_py())

    def check(self, label: str) -> None:
        """Refuse the column when it is mixed.

        Raises:
            SourceError: names the column, the first value that isn't a number, and its row.
        """
        if self._odd is None or self._codes or self._numbers < _MIXED_SHARE * self._present:
            return
        row, value = self._odd
        shown = value if len(value) <= 40 else value[:40] + "…"
        raise SourceError(
            f"{label}: mixed types in column {self.name!r}: {self._numbers / self._present:.1%} of its values are "
            f"numbers, row {row} has {shown!r}; add it to source.null_values if it means missing, "
            f"or set schema.columns.{self.name}.kind: categorical"
        )
