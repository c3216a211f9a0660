"""The exported graphs in onnxruntime, and nothing run that isn't what the model's manifest says."""

from __future__ import annotations

import importlib
import json
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_core.config import Device
from vae_core.errors import ArtifactError, ConfigError, MissingDependencyError
from vae_core.generation.noise import BLOCK
from vae_core.store import Artifact

FORMAT_VERSION = 2
BATCH = 2048  # where the graph doesn't say
_Floats = npt.NDArray[np.float32]
_Codes = npt.NDArray[np.int32]


class Graph:
    """One ONNX graph of a model, run on batches of a fixed number of rows.

    The last batch is padded: the shape of a run never depends on how many rows were asked for, so neither does the
    result of a row.

    Attributes:
        provider: the execution provider that runs it.
        latent_dim: width of z.
        sub_columns: their (name, size), in order.
        position: names of the sub-columns whose position inside the code is an output of the decoder.
        normals: width of eps, the number of Gaussian sub-columns.
    """

    def __init__(
        self, model: Artifact, file: str, *, device: Device = "auto", threads: int = 1, batch: int | None = None
    ) -> None:
        """Load `file` of `model`.

        Args:
            model: its folder is checked against its manifest first.
            file: `decoder.onnx` or `encoder.onnx`.
            device: `cuda` never falls back to the CPU; `auto` takes CUDA where it loads.
            threads: of one run.
            batch: rows of one run; on the CPU as many as the graph says when not given, BATCH on CUDA.

        Raises:
            ArtifactError: the file was changed, is missing, or doesn't belong to this model and codec.
            ConfigError: `cuda` was asked for and doesn't load.
            MissingDependencyError: onnxruntime isn't installed.
        """
        if file not in model.manifest["files"]:
            raise ArtifactError(f"{model.folder}: it has no {file}; run `vaesynth export {model.name}` first")
        model.check(file)
        self.path = model.folder / file
        self._session = _session(self.path, device, threads)
        self.provider = str(self._session.get_providers()[0])
        self._inputs = {value.name: value.shape for value in self._session.get_inputs()}
        properties = dict(self._session.get_modelmeta().custom_metadata_map)
        others = dict.fromkeys(("codec_digest", "latent_dim", "sub_columns", "position"))
        check_metadata(self.path, properties, {"model_digest": model.digest, **others})
        fitting = BATCH if self.provider.startswith("CUDA") else int(properties.get("batch_size", BATCH))
        self.batch = min(batch or fitting, BLOCK)
        self.codec_digest = properties["codec_digest"]
        self.latent_dim = int(properties["latent_dim"])
        self.sub_columns = [(str(c["name"]), int(c["size"])) for c in json.loads(properties["sub_columns"])]
        self.position = [str(name) for name in json.loads(properties["position"])]

    @cached_property
    def normals(self) -> int:
        """Width of eps: the number of Gaussian sub-columns."""
        return int(self._inputs["eps"][1]) if "eps" in self._inputs else 0

    def with_batch(self, batch: int) -> Graph:
        """The same graph, in the same session, on batches of another number of rows."""
        other = copy(self)
        other.batch = batch
        return other

    def check_codec(self, codec: Any) -> None:
        """Make sure that `codec` is the one the graph was exported with.

        Raises:
            ArtifactError: it isn't.
        """
        ours = [(sub.name, sub.size) for sub in codec.sub_columns]
        if self.codec_digest != codec.digest or self.sub_columns != ours:
            raise ArtifactError(f"{self.path}: was exported with another codec.json; export the model again")

    def decode(
        self, z: _Floats, u: _Floats, eps: _Floats, out: tuple[_Codes, _Floats] | None = None
    ) -> tuple[_Codes, _Floats]:
        """Run the decoder.

        Args:
            z: float32 [n, latent].
            u: float32 [n, S] in [0, 1).
            eps: float32 [n, G].
            out: arrays to write the results into, contiguous.

        Returns:
            codes int32 [n, S], position float32 [n, P].
        """
        feeds = {"z": z, "u": u} | ({"eps": eps} if self.normals else {})
        codes, position = out or (
            np.empty((len(z), len(self.sub_columns)), np.int32),
            np.empty((len(z), len(self.position)), np.float32),
        )
        outputs: dict[str, npt.NDArray[Any]] = {"codes": codes} | ({"position": position} if self.position else {})
        self._run(feeds, outputs)
        return codes, position

    def encode(self, codes: _Codes) -> tuple[_Floats, _Floats]:
        """Run the encoder.

        Args:
            codes: int32 [n, S].

        Returns:
            mu and log_var, each float32 [n, latent].
        """
        mu = np.empty((len(codes), self.latent_dim), np.float32)
        log_var = np.empty_like(mu)
        self._run({"codes": np.ascontiguousarray(codes, np.int32)}, {"mu": mu, "log_var": log_var})
        return mu, log_var

    def _run(self, feeds: dict[str, npt.NDArray[Any]], outputs: dict[str, npt.NDArray[Any]]) -> None:
        """Fill `outputs` batch by batch; onnxruntime writes into them, from whatever device it runs on."""
        binding = self._session.io_binding()
        rows = len(next(iter(feeds.values())))
        for start in range(0, rows, self.batch):
            stop = min(start + self.batch, rows)
            missing = self.batch - (stop - start)
            inputs = {
                name: np.pad(value[start:stop], ((0, missing), (0, 0)))
                if missing
                else np.ascontiguousarray(value[start:stop])
                for name, value in feeds.items()
            }
            results = {
                name: np.empty((self.batch, value.shape[1]), value.dtype) if missing else value[start:stop]
                for name, value in outputs.items()
            }
            for name, value in inputs.items():
                binding.bind_cpu_input(name, value)
            for name, value in results.items():
                binding.bind_output(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            if missing:
                for name, value in results.items():
                    outputs[name][start:stop] = value[: stop - start]


def check_metadata(path: Path, properties: dict[str, str], expected: dict[str, str | None]) -> None:
    """Make sure that a graph is one of this version, and that its metadata has the values of `expected`.

    Raises:
        ArtifactError: it isn't, or hasn't; `None` stands for any value.
    """
    missing = ({"format_version"} | expected.keys()) - properties.keys()
    if missing:
        raise ArtifactError(f"{path}: not a graph of vaesynth (no {', '.join(sorted(missing))} in its metadata)")
    if int(properties["format_version"]) > FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format {properties['format_version']} is newer than this vaesynth runs ({FORMAT_VERSION}); "
            "upgrade vaesynth"
        )
    for key, value in expected.items():
        if value is not None and properties[key] != value:
            raise ArtifactError(f"{path}: belongs to another model ({key} differs); export the model again")


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        raise MissingDependencyError(
            "generation needs onnxruntime: pip install 'vaesynth[cpu]' (or 'vaesynth[gpu]' for CUDA; "
            "'vaesynth[worker]' or 'vaesynth[worker-gpu]' without training)"
        ) from None


def _session(path: Path, device: Device, threads: int) -> Any:
    ort = _onnxruntime()
    cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device == "cuda" and not cuda:
        raise ConfigError(
            "device cuda: the installed onnxruntime has no CUDA; pip install 'vaesynth[gpu]' in an environment "
            "without onnxruntime, or use device cpu"
        )
    if cuda and device != "cpu":
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # finds the CUDA libraries that pip installed, without importing torch
        try:
            # A provider that is listed may still fail to load; onnxruntime then falls back with a warning only.
            session = ort.InferenceSession(
                path, _options(ort, threads, fallback=False), providers=["CUDAExecutionProvider"]
            )
            if session.get_providers()[0] == "CUDAExecutionProvider":
                return session
            reason = "the CUDA provider doesn't load"
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
        if device == "cuda":
            raise ConfigError(f"device cuda: {reason}; check the driver and CUDA's libraries, or use device cpu")
    return on_cpu(path, threads)


def on_cpu(path: Path, threads: int) -> Any:
    """A session of a graph on the CPU.

    Raises:
        ArtifactError: onnxruntime can't load it.
    """
    ort = _onnxruntime()
    try:
        return ort.InferenceSession(path, _options(ort, threads), providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path}: onnxruntime can't load it: {reason}") from None


def _options(ort: Any, threads: int, *, fallback: bool = True) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    # A waiting thread that spins takes the core from the writers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not fallback:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options
