"""Generation: noise, the decoder on onnxruntime, shards of Parquet. Imports neither torch nor onnx."""

from vae_core.generation.generate import generate
from vae_core.generation.noise import BLOCK, Noise, noise
from vae_core.generation.sampler import Sampler
from vae_core.generation.shards import Run, Shard

__all__ = ["BLOCK", "Noise", "Run", "Sampler", "Shard", "generate", "noise"]
