"""Generation end to end to Parquet: against the peers, against bare matrix products, and where the time goes.

    python benchmarks/generation.py MODEL_FOLDER [--peers PEERS/bin/python --data FOLDER [--table adult]]
        [--rows 1000000 20000000] [--repeats 5] [--workers N]
        [--json RESULT.json] [--markdown RESULT.md] [--plot docs/generation.svg]

MODEL_FOLDER is a model exported from the table; PEERS the environment that peers/environment.sh makes, FOLDER the
tables as for fidelity.py. Everything that is compared is measured in turn, round by round, and the median over the
rounds of a rate, or of the ratio within a round, is reported; the ratio of processor time beside it, which load
disturbs less:

- ours: `generate`, from loaded libraries to the manifest on disk, loading the model included, in a resident process;
- SDV's synthesizers: `sample` + `to_parquet` in a resident process that has the fitted one loaded. They are trained
  once, for one epoch, which makes them worse but no slower, and kept in --cache;
- bare products: onnxruntime on a graph of the decoder's matrix products alone, one session and thread a core, the same
  batch; with and without the triangular ones that make probabilities cumulative.

The steps are timed on one thread, a row group at a time, in processor time, which other programs on the machine disturb
less than they do wall time; what is done again for rows that are drawn again counts as often. What happens inside the
decoder is divided by onnxruntime's own profile. Disk is what a file takes longer on the disk than in memory, in wall
time, until it is synced. The runs of --rows are processes of their own, so that the peak of resident memory is that
run's. "busy" is the share of the workers' cores that a run used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from decoder_profile import bare_rate, products, profile
from generation_report import NAMES, plot, table
from tables import CACHE, prepare, read

sys.path.insert(0, str(Path(__file__).parents[1]))

from vae_core.codec.settled import rare
from vae_core.config import GenerationConfig
from vae_core.generation import BLOCK, Sampler, generate
from vae_core.generation.generate import cores
from vae_core.generation.parquet import PACKED, is_packed
from vae_core.generation.sampler import CHUNK
from vae_core.generation.writer import ROW_GROUP
from vae_core.store import Artifact, Store

HERE = Path(__file__).parent


def end_to_end(model: str, rows: int, workers: int, batch: int) -> dict[str, Any]:
    """Generate a dataset and remove it; `seconds` counts from the loaded libraries to the manifest on disk."""
    with tempfile.TemporaryDirectory() as folder:
        config = GenerationConfig(rows=rows, workers=workers, batch_size=batch, device="cpu")
        artifact = Artifact.load(Path(model))
        began, used = time.perf_counter(), time.process_time()
        dataset = generate(artifact, config, Store(folder))
        seconds, processor = time.perf_counter() - began, time.process_time() - used
        files = dataset.manifest["files"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": seconds,
        "processor": processor,
        "peak_bytes": peak,
        "bytes": sum(entry["bytes"] for entry in files.values()),
        "sha256": {name: entry["sha256"] for name, entry in files.items()},
    }


class Peer:
    """A resident process that samples from one of SDV's synthesizers."""

    def __init__(self, python: str, method: str, data: Path, cache: Path) -> None:
        command = [python, str(HERE / "peers" / "sampler.py"), method, str(data), str(cache)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about: dict[str, Any] = json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer ended with exit code {self._process.wait()}")
        return line

    def sample(self, rows: int) -> tuple[float, float]:
        """Have it write `rows` rows; returns the seconds of wall and of processor time."""
        assert self._process.stdin is not None
        with tempfile.TemporaryDirectory() as folder:
            self._process.stdin.write(f"{rows} {folder}/rows.parquet\n")
            self._process.stdin.flush()
            seconds, processor = self._answer().split()
            return float(seconds), float(processor)


def compare(arguments: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Ours, the peers and the bare products, in turn."""
    rows, batch = arguments.rows[0], arguments.batch_size
    decoder = Path(arguments.model) / "decoder.onnx"
    bare = {
        "products": products(decoder, batch, triangular=False),
        "all_products": products(decoder, batch, triangular=True),
    }
    peers = {}
    if arguments.peers:
        data, _ = prepare(read(arguments.table, arguments.data), arguments.cache)
        peers = {name: Peer(arguments.peers, name, data, data.parent / "sampler") for name in arguments.methods}
    rates: dict[str, list[float]] = {name: [] for name in ("ours", *bare, *peers)}
    work: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        single = pool.apply(end_to_end, (arguments.model, rows, 1, batch))
        for turn in range(arguments.repeats + 1):
            run = pool.apply(end_to_end, (arguments.model, rows, workers, batch))
            rate, used = {"ours": rows / run["seconds"]}, {"ours": run["processor"] / rows}
            for name, (graph, _) in bare.items():
                rate[name] = bare_rate(graph, batch, workers, 1_000_000)
            for name, peer in peers.items():
                seconds, processor = peer.sample(arguments.peer_rows)
                rate[name], used[name] = arguments.peer_rows / seconds, processor / arguments.peer_rows
            if turn:  # the first one warms up
                print(json.dumps({name: round(value) for name, value in rate.items()}), file=sys.stderr, flush=True)
                for name, value in rate.items():
                    rates[name].append(value)
                for name, value in used.items():
                    work[name].append(value)

    def figures(name: str) -> dict[str, Any]:
        ratios = [ours / other for ours, other in zip(rates["ours"], rates[name], strict=True)]
        result = {
            "rows_per_second": round(statistics.median(rates[name])),
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "rounds": [round(rate) for rate in rates[name]],
        }
        if name in work:
            mine, theirs = (statistics.median(work[key]) for key in ("ours", name))
            result |= {"processor_ns_per_row": round(theirs * 1e9), "processor_ratio": round(theirs / mine, 2)}
        return result

    return {
        "ours": {"rows": rows} | figures("ours"),
        "peers": {name: {"rows": arguments.peer_rows} | figures(name) | peer.about for name, peer in peers.items()},
        "bare": {name: figures(name) | {"shapes": shapes} for name, (_, shapes) in bare.items()},
        "same_bytes": single["sha256"] == run["sha256"],
    }


def written(tables: list[pa.Table], compression: str, path: Path | None) -> tuple[float, float, bytes]:
    """Processor and wall time of writing row groups as the project's writer does, to `path` or to memory; the bytes."""
    schema = tables[0].schema
    began, used = time.perf_counter(), time.thread_time()
    sink = pa.BufferOutputStream() if path is None else pa.OSFile(str(path), "wb")
    writer = pq.ParquetWriter(
        sink,
        schema,
        compression=compression,
        compression_level=1 if compression == "zstd" else None,
        use_dictionary=[field.name for field in schema if pa.types.is_dictionary(field.type)],
        column_encoding={field.name: PACKED for field in schema if is_packed(field.type)},
        write_page_checksum=True,
        store_schema=False,
    )
    for group in tables:
        writer.write_table(group, row_group_size=ROW_GROUP)
    writer.close()
    sink.close()
    if path is not None:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    seconds = time.thread_time() - used, time.perf_counter() - began
    return *seconds, sink.getvalue().to_pybytes() if path is None else b""


def steps(model: str, batch: int, groups: int = 4, repeats: int = 5) -> tuple[dict[str, float], dict[str, Any]]:
    """Nanoseconds a row and core of each step; and the decoder's profile."""
    sampler = Sampler(model, device="cpu", batch_size=batch)
    spent: dict[str, list[float]] = {}

    def timed(step: str, work: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        result = work(*arguments)
        spent.setdefault(step, []).append((time.thread_time() - began) / CHUNK * 1e9)
        return result

    chunks = []
    for first in range(0, (groups + 1) * ROW_GROUP, CHUNK):
        noise = timed("noise", sampler.noise, CHUNK, 0, first)
        codes = timed("decoder", sampler.decoder.decode, *noise)
        if sampler.discriminator is not None:
            timed("discriminator", sampler.discriminator.kept, *codes)
        if sampler.rare is not None:
            timed("rare rows", rare, sampler.codec, sampler.rare, *codes)
        chunks.append(timed("values", sampler.columns, *codes, first, 0))
    part = ROW_GROUP // CHUNK
    tables = [pa.concat_tables(chunks[start : start + part]) for start in range(0, len(chunks), part)]
    cost = {step: statistics.median(times[part:]) for step, times in spent.items()}
    draws = 1 + sampler.redrawn(ROW_GROUP).draws / ROW_GROUP
    cost |= {step: draws * cost[step] for step in cost if step != "values"}

    feeds = {"z": noise.z[:batch], "u": noise.u[:batch]} | ({"eps": noise.eps[:batch]} if noise.eps.size else {})
    sections, kinds = profile(Path(model) / "decoder.onnx", feeds)
    decoder = cost.pop("decoder")
    result = {"noise": cost["noise"]}
    result |= {f"decoder: {section}": decoder * share for section, share in sections.items()}
    result |= {step: cost[step] for step in ("discriminator", "rare rows", "values") if step in cost}

    rows, rounds = groups * ROW_GROUP, []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats):
            plain, _, _ = written(tables[1:], "none", None)
            packed, inside, content = written(tables[1:], "zstd", None)
            _, outside, _ = written(tables[1:], "zstd", Path(folder) / f"{turn}.parquet")
            began = time.thread_time()
            hashlib.sha256(content)
            rounds.append((plain, packed - plain, time.thread_time() - began, outside - inside))
    names = ("encoding", "compression", "sha256", "disk")
    for step, values in zip(names, zip(*rounds, strict=True), strict=True):
        result[step] = max(0.0, statistics.median(values)) / rows * 1e9
    return result, {
        "sections": sections,
        "operators": kinds,
        "bytes_per_row": round(len(content) / rows, 2),
        "draws_per_row": round(draws, 3),
    }


def startup(model: str, repeats: int) -> list[float]:
    """Wall time of `vaesynth generate MODEL --rows 1000` as a fresh process."""
    seconds = []
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "vae_core.cli", "generate", model, "--rows", "1000"]
            began = time.perf_counter()
            subprocess.run([*command, "--output", f"{folder}/rows"], check=True, env=environment, capture_output=True)
            seconds.append(time.perf_counter() - began)
    return seconds[1:]


def alone(model: str, rows: int, workers: int, batch: int, repeats: int) -> dict[str, Any]:
    """Runs in processes of their own."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        measured = [pool.apply(end_to_end, (model, rows, workers, batch)) for _ in range(repeats)]
    seconds, processor = (statistics.median(run[key] for run in measured) for key in ("seconds", "processor"))
    return {
        "rows": rows,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds),
        "busy": round(processor / seconds / workers, 3),
        "processor_ns_per_row": round(processor / rows * 1e9),
        "bytes_per_row": round(measured[0]["bytes"] / rows, 2),
        "peak_mib": round(max(run["peak_bytes"] for run in measured) / 2**20),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of an exported model")
    parser.add_argument("--peers", help="python of the peers' environment; without it there is no comparison with them")
    parser.add_argument("--data", type=Path, help="folder of the tables; needed with --peers")
    parser.add_argument("--table", default="adult", help="that of the model, for the peers")
    parser.add_argument("--methods", nargs="+", default=list(NAMES)[1:], choices=list(NAMES)[1:])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="the first one is what is compared")
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, help="as many as cores when not given")
    parser.add_argument("--batch-size", type=int, help="what fits the decoder's width when not given")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--run-repeats", type=int, default=3, help="of the runs in processes of their own")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--plot", type=Path, help="write an SVG here")
    arguments = parser.parse_args()
    if arguments.peers and not arguments.data:
        parser.error("--peers needs --data")
    workers = cores(arguments.workers)
    arguments.batch_size = arguments.batch_size or Sampler(arguments.model, device="cpu").decoder.batch
    result: dict[str, Any] = {
        "cpus": os.cpu_count(),
        "workers": workers,
        "batch_size": arguments.batch_size,
        "block": BLOCK,
        "table": arguments.table,
        "repeats": arguments.repeats,
    }
    result |= compare(arguments, workers)
    batch = arguments.batch_size
    result["runs"] = [alone(arguments.model, rows, workers, batch, arguments.run_repeats) for rows in arguments.rows]
    spent, result["profile"] = steps(arguments.model, batch)
    total = sum(spent.values())
    result["processor_ns_per_row"] = {step: round(value) for step, value in spent.items()}
    result["share"] = {step: round(value / total, 4) for step, value in spent.items()}
    result["sum_of_steps_ns"] = round(total)
    starts = startup(arguments.model, arguments.repeats)
    result |= {"startup_seconds": round(statistics.median(starts), 3), "startups": [round(s, 3) for s in starts]}
    ours, here = result["runs"][-1]["bytes_per_row"], result["profile"]["bytes_per_row"]
    if not 0.95 < ours / here < 1.05:  # the steps would be those of another writer
        print(
            f"the steps wrote {here} bytes a row, generate {ours}: are written() and the project alike?",
            file=sys.stderr,
        )
    text = table(result)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.plot:
        arguments.plot.write_text(plot(result), encoding="utf-8")


if __name__ == "__main__":
    main()
