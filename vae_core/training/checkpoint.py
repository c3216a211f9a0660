"""What a training leaves on the disk while it runs, so that a killed one goes on instead of starting again.

One hidden file beside the model, replaced whole every few seconds: tensors, and JSON in its metadata. It is only good
for the very same training, by the same code and libraries, since another would end elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vae_core.store import digest_of
from vae_core.store.files import fsync_file, fsync_folder
from vae_core.store.manifest import libraries

EVERY = 10.0  # seconds between two checkpoints, at least
SELDOM = 60.0  # and at most, where writing takes so long that it would cost more than COST
COST = 0.01  # share of the time that writing may take
KEPT_DAYS = 7  # after which what killed trainings left, and nobody went on with, is removed

_logger = logging.getLogger(__name__)


class Checkpoint:
    """The checkpoint of one training; whoever uses it holds the store's lock on the model's name.

    Args:
        home: folder of the models of a name.
        key: digest of all that the training starts from.
        version: of the model, which names the file.
    """

    def __init__(self, home: Path, key: str, version: str) -> None:
        self.path = home / f".checkpoint-{version}.safetensors"
        self._draft = self.path.with_suffix(".tmp")  # one name: what was left of a killed write is overwritten
        self._identity = digest_of({"key": key, "code": code_digest(), "libraries": libraries()})
        self._next = time.monotonic() + EVERY
        self._told = False

    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() >= self._next

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Replace the checkpoint; one that can't be written is told once, and training goes on.

        Args:
            tensors: of any device; copied while this runs.
            facts: in JSON types.
        """
        began = time.monotonic()
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(facts)
        metadata = {"identity": self._identity, "facts": text, "crc32": str(_crc32(plain, text))}
        try:
            save_file(plain, self._draft, metadata)
            fsync_file(self._draft)
            self._draft.replace(self.path)
            fsync_folder(self.path.parent)
        except (OSError, SafetensorError) as error:
            if not self._told:
                _logger.warning("%s can't be written (%s): a kill would lose what is learned", self.path, error)
            self._told = True
        ended = time.monotonic()
        self._next = ended + min(max(EVERY, (ended - began) / COST), SELDOM)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors, on the CPU, and facts of the last `save`.

        Returns:
            None where there is none, or another training, code or library wrote it; also for a damaged one, which is
            told.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("identity") != self._identity:
                    return None
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
            if metadata["crc32"] != str(_crc32(tensors, metadata["facts"])):
                raise ValueError("its content was changed")
            return tensors, json.loads(metadata["facts"])
        except (OSError, SafetensorError, ValueError, KeyError):
            _logger.warning("%s is damaged: training starts from the beginning", self.path)
            return None

    def remove(self) -> None:
        """Remove it, and those of other trainings of this name that nobody went on with for days."""
        oldest = time.time() - KEPT_DAYS * 86_400
        for path in self.path.parent.glob(".checkpoint-*"):
            if path in (self.path, self._draft) or path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)


def code_digest() -> str:
    """sha256, hexadecimal, of the sources that decide where a training ends."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for part in ("codec", "model", "training"):
        for path in sorted((package / part).rglob("*.py")):
            digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _crc32(tensors: dict[str, Tensor], text: str) -> int:
    """Of names, content and `text`: safetensors itself notices only what was cut off."""
    found = zlib.crc32(text.encode())
    for name in sorted(tensors):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(tensors[name].flatten().view(torch.uint8).numpy().data, found)
    return found
