"""The export stage: adds encoder.onnx and decoder.onnx to a model artifact."""

from __future__ import annotations

import json

import numpy as np
import onnx
from safetensors import safe_open

from vae_core.codec import Codec
from vae_core.config import TrainingConfig
from vae_core.errors import ArtifactError
from vae_core.export.decoder import build_decoder
from vae_core.export.encoder import build_encoder
from vae_core.export.parity import measure
from vae_core.model import VAE, Layout, Structure
from vae_core.progress import Progress, silent
from vae_core.store import Artifact

STAGE = "export"
FORMAT_VERSION = 2
CACHED = 2**17  # numbers of a hidden state [n, hidden], of which the decoder has three or four


def export(model: Artifact, progress: Progress = silent) -> Artifact:
    """Write a model's encoder and decoder as ONNX and measure their parity with torch.

    Args:
        model: what `train` wrote.
        progress: told the three steps.

    Returns:
        The artifact with encoder.onnx, decoder.onnx and the parity in its manifest; as it is where they stand already.

    Raises:
        ArtifactError: the model's files were changed on disk.
        TrainingError: onnxruntime and torch differ by more than rounding.
    """
    config = {"format_version": FORMAT_VERSION}
    if model.manifest.get("stages", {}).get(STAGE, {}).get("config") == config and not model.verify():
        return model
    model.check("codec.json", "weights.safetensors")
    codec = Codec.from_dict(json.loads(model.file("codec.json").read_text()))
    vae = load_model(model, codec)
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "model_digest": model.digest,
        "codec_digest": codec.digest,
        "latent_dim": str(vae.latent_dim),
        "batch_size": str(batch_size(vae.decoder.hidden)),
        "sub_columns": json.dumps([{"name": s.name, "size": s.size} for s in codec.sub_columns]),
        "position": json.dumps([s.name for s in codec.sub_columns if s.position or s.gaussian]),
    }
    progress(0, 3, "decoder")
    decoder, logits = build_decoder(vae, [sub.position for sub in codec.sub_columns], metadata)
    progress(1, 3, "encoder")
    encoder = build_encoder(vae, metadata)
    progress(2, 3, "parity")
    parity = measure(vae, decoder, encoder, logits)
    with model.extend(STAGE, config, {"parity": parity, "opset": decoder.opset_import[0].version}) as folder:
        onnx.save(decoder, folder / "decoder.onnx")
        onnx.save(encoder, folder / "encoder.onnx")
    progress(3, 3)
    return Artifact.load(model.folder)


def batch_size(hidden: int) -> int:
    """Rows of a run of the decoder: as many as keep hidden states, a power of two, in a core's second cache."""
    return 1 << min(10, max(8, (CACHED // hidden).bit_length() - 1))


def load_model(model: Artifact, codec: Codec) -> VAE:
    """Rebuild the torch model of an artifact, on the CPU, in evaluation mode.

    Raises:
        ArtifactError: an earlier version trained it, with other weights.
    """
    config = TrainingConfig.model_validate(model.manifest["config"])
    with safe_open(model.file("weights.safetensors"), "pt") as weights:
        structure = Structure.from_metadata(weights.metadata(), codec)
        state = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118 (not a mapping)
    layout = Layout.from_codec(codec, np.zeros((0, len(codec.sub_columns)), np.int32), structure)
    vae = VAE(layout, config, folded=True)
    expected = vae.state_dict()
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        raise ArtifactError(f"{model.folder}: its weights are of another version of the model; train it again")
    vae.load_state_dict(state)
    return vae.eval()
