"""What goes wrong with a source's files, in one line."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from vae_core.errors import SourceError
from vae_core.store import redact


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Turn the errors of a damaged, missing or forbidden file into a one-line `SourceError`."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{label}: no such file") from None
    except PermissionError:
        raise SourceError(f"{label}: can't be read: permission denied") from None
    except IsADirectoryError:
        raise SourceError(f"{label}: is a folder, not a file") from None
    except zipfile.BadZipFile as error:
        raise SourceError(f"{label}: damaged zip archive: {one_line(error)}") from None
    except (OSError, EOFError, zlib.error, pa.ArrowException, NotImplementedError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SourceError(f"{label}: can't be read, it is damaged or cut short: {one_line(error)}") from None


def one_line(error: object) -> str:
    """The message of an error on one line, without credentials."""
    text = " ".join(str(error).split())
    return str(redact(text if len(text) <= 300 else text[:300] + "…"))
