"""The files that a path, a folder, a glob, an address or a package's name means."""

from __future__ import annotations

import difflib
import importlib.util
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from vae_core.errors import SourceError
from vae_core.ingest.folders import GLOB, Located, Scratch, check_plain, shown
from vae_core.ingest.formats import COMPRESSED, FORMATS
from vae_core.ingest.remote import download, fetch
from vae_core.progress import Progress, silent
from vae_core.store import redact

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PACKAGE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?!//)(.+)")


def locate(path: str, scratch: Scratch, progress: Progress = silent) -> list[Located]:
    """The files that `path` means, on the local disk; `progress` gets notes of what is fetched.

    Raises:
        SourceError: there is none, or an address can't be read.
    """
    if _URL.match(path):
        scheme = path.partition("://")[0].lower()
        if scheme in ("http", "https"):
            return [(download(path, scratch() / "download", progress), redact(path.partition("?")[0]), ())]
        if scheme != "file":
            return fetch(path, scratch, progress)
        path = urllib.request.url2pathname(urllib.parse.urlsplit(path).path)
    local = Path(path).expanduser()
    if local.is_file():
        return [(local, path, ())]
    if local.is_dir():
        check_plain((entry.name for entry in local.iterdir()), path)
        found = _visible(local.rglob("*"), local)
        if not found:
            raise SourceError(f"{path}: the folder holds no file")
        return found
    package = _PACKAGE.fullmatch(path)
    if package and not local.exists():
        return [(_package_file(package[1], package[2]), path, ())]
    if GLOB.search(path) and not local.exists():
        parts = local.parts
        plain = next(k for k, part in enumerate(parts) if GLOB.search(part))
        base = Path(*parts[:plain])
        check_plain((entry.name for entry in base.iterdir()) if base.is_dir() else (), str(base))
        found = _visible(base.glob(str(Path(*parts[plain:]))), base)
        if not found:
            raise SourceError(f"{path}: no file matches")
        return found
    if local.exists():
        raise SourceError(f"{path}: is neither a file nor a folder")
    raise SourceError(f"{path}: no such file; {_near(local)}")


def _visible(paths: Iterator[Path], base: Path) -> list[Located]:
    """Files that hold data: not hidden, not the marks that other systems leave (`_SUCCESS`, `.crc`)."""
    return [
        (path, str(path), path.relative_to(base).parts[:-1])
        for path in sorted(paths)
        if path.is_file() and shown(path.relative_to(base).parts)
    ]


def _near(path: Path) -> str:
    """A hint for a mistyped path."""
    parent = path.parent
    if not parent.is_dir():
        return f"there is no folder {parent} either"
    try:
        names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    except PermissionError:
        return f"the folder {parent} can't be listed"
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return f"{parent} holds " + (", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing")


def _package_file(package: str, name: str) -> Path:
    """A file that an installed package ships. The package itself isn't imported: its code may not even run."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(f"{package}:{name}: the package {package!r} isn't installed; install it with pip")
    folders = [Path(location) for location in spec.submodule_search_locations]
    for folder in folders:
        candidate = (folder / name).resolve()
        if candidate.is_relative_to(folder.resolve()) and candidate.is_file():
            return candidate
    shipped = sorted(
        path.relative_to(folder).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in FORMATS or path.suffix in COMPRESSED
    )
    close = difflib.get_close_matches(name, shipped, n=1, cutoff=0.3)
    hint = f"did you mean {close[0]!r}?" if close else f"it ships {', '.join(shipped[:5]) or 'no data files'}"
    raise SourceError(f"{package}:{name}: the package has no such file; {hint}")
