"""The discriminator in onnxruntime: which of the rows drawn are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.codec.features import Features
from vae_core.codec.storage import Array
from vae_core.errors import ArtifactError
from vae_core.generation.session import check_metadata, on_cpu
from vae_core.store import Artifact

FILE = "discriminator.onnx"


class Discriminator:
    """What training found of which rows are drawn too often (see `vae_core.training.discriminator`).

    It always runs on the CPU, as onnxruntime has no trees elsewhere.
    """

    def __init__(self, model: Artifact, codec: Codec, threads: int) -> None:
        """Load it.

        Raises:
            ArtifactError: the file was changed, or belongs to another model or codec.
        """
        model.check(FILE)
        path = model.folder / FILE
        self._features = Features(codec)
        self._session = on_cpu(path, threads)
        properties = dict(self._session.get_modelmeta().custom_metadata_map)
        check_metadata(path, properties, {"model_digest": model.digest, "codec_digest": codec.digest})
        if self._session.get_inputs()[0].shape[1] != len(self._features.all):
            raise ArtifactError(f"{path}: is of another version of vaesynth; train the model again")

    def kept(self, codes: Array, position: Array) -> npt.NDArray[np.float32]:
        """The probability of each row to be kept, float32 [n]; as `Codec.decode` takes the rows."""
        (kept,) = self._session.run(["kept"], {"features": self._features(codes, position)})
        return np.asarray(kept[:, 0], np.float32)
