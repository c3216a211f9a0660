"""Fidelity of synthetic tables: ours, the peers, the published figures and the floors, under one protocol.

    python benchmarks/fidelity.py --data FOLDER --peers PEERS/bin/python [--tables adult …] [--seeds 5] [--jobs 2]
        [--methods ours protected bootstrap independent tvae ctgan gaussian_copula] [--dcr]
        [--variant 'wide={"training": {"hidden": 128}}'] [--json RESULT.json] [--markdown RESULT.md]

FOLDER holds one folder a table, described as tables.py says; PEERS is the environment that peers/environment.sh makes.
Nothing is downloaded. Each method learns the training rows with its default settings and draws as many; they are scored
in the peers' environment (peers/fidelity.py). `ours` gives rare levels, extremes and rare rows as they are, as the
peers and the published systems do; `protected` is ours with its defaults, which withhold them:

    shape, trend   100 - sdmetrics' QualityReport against the training rows, in per cent
    C2ST           sdmetrics' detection metric with XGBoost, three folds: 1 - mean(2·max(.5, AUC) - 1)
    utility        XGBoost trained on synthetic rows, tested on the test rows: AUC, or RMSE of log(clip(y, 1, 20000))
    DCR share      with --dcr, by a second training on one half of the rows: share of the synthetic rows whose nearest
                   training row is in that half rather than in the other

The floors are a bootstrap of the training rows and independent columns, each column permuted. Every training and every
score is kept in --cache by table, method, seed, settings and the code that made it, so that a run goes on where it was
stopped. With --jobs N, N methods train at once, each with its share of the cores' threads (or with OMP_NUM_THREADS);
training times are then those of a shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fidelity_report import markdown, sane, summary
from tables import CACHE, Table, digest, find, prepare, read

sys.path.insert(0, str(Path(__file__).parents[1]))

from vae_core.config import TrainingConfig

HERE = Path(__file__).parent
PEERS = ("tvae", "ctgan", "gaussian_copula")
FLOORS = ("bootstrap", "independent")
UNPROTECTED = {"min_frequency": 1, "extremes": 1, "min_row_frequency": 1}  # of the codec
OURS: dict[str, dict[str, Any]] = {"ours": {"training": {"codec": UNPROTECTED}}, "protected": {}}
# The parts of the project that decide a synthetic row, beside the defaults of the configuration.
DECISIVE = ("codec/*", "export/*", "ingest/**/*", "model/**/*", "training/*", "schema", "split")
DECISIVE += tuple(f"generation/{each}" for each in ("discriminator", "draws", "noise", "sampler", "session"))


@dataclass(frozen=True)
class Job:
    """One training with its score."""

    table: Table
    data: Path
    method: str
    seed: int
    half: bool
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.table.name} {self.method} seed {self.seed}{' half' if self.half else ''}"


def code(method: str) -> bytes:
    """The code that decides a method's rows."""
    if method in PEERS:
        files = [HERE / "peers" / name for name in ("synthesize.py", "requirements.txt")]
    elif method in FLOORS:
        return b"1"
    else:
        files = [path for part in DECISIVE for path in (HERE.parent / "vae_core").glob(f"{part}.py")]
        files.append(HERE / "ours.py")
    defaults = b"" if method in PEERS else TrainingConfig().model_dump_json().encode()
    return defaults + b"".join(path.read_bytes() for path in sorted(files))


def floor(method: str, data: Path, seed: int) -> pd.DataFrame:
    """A bootstrap of the training rows, or each column permuted by itself."""
    train = pd.read_parquet(data / "train.parquet")
    generator = np.random.default_rng(seed)
    if method == "bootstrap":
        return train.iloc[generator.integers(0, len(train), len(train))].reset_index(drop=True)
    return pd.DataFrame({name: train[name].to_numpy()[generator.permutation(len(train))] for name in train})


def place(job: Job, epochs: int | None) -> Path:
    """The folder of what a job makes."""
    made = digest(code(job.method), json.dumps([job.settings, epochs if job.method in PEERS else None]).encode())
    return job.data.parent / job.method / f"{job.data.name}-seed{job.seed}-{made}"


def run(job: Job, peers: str, threads: int, epochs: int | None) -> dict[str, Any]:
    """Train and score, or read what is kept. Returns the figures."""
    folder = place(job, epochs)
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    rows, how = folder / "synthetic.parquet", folder / "how.json"
    if not how.exists():  # written last
        if job.method in FLOORS:
            floor(job.method, job.data, job.seed).to_parquet(rows, index=False)
            how.write_text("{}\n")
        else:
            if job.method in PEERS:
                command = [peers, HERE / "peers" / "synthesize.py", job.method, job.data, folder]
                command += ["--epochs", str(epochs)] if epochs is not None else []
            else:
                command = [sys.executable, HERE / "ours.py", job.data, folder, "--settings", json.dumps(job.settings)]
            call([*command, "--seed", str(job.seed)], environment, folder / "log.txt")
    scorer = HERE / "peers" / "fidelity.py"
    kept = folder / f"score-{digest(scorer.read_bytes(), (HERE / 'peers' / 'requirements.txt').read_bytes())}.json"
    if not kept.exists():
        answer = call([peers, scorer, job.data, rows], environment, folder / "score.txt")
        kept.write_text(answer)
    made_how = json.loads(how.read_text())
    if job.half:  # it stands beside the figures of the whole table's training
        made_how = {f"half_{key}": value for key, value in made_how.items() if key == "train_seconds"}
    return {
        "table": job.table.name,
        "method": job.method,
        "seed": job.seed,
        **made_how,
        **json.loads(kept.read_text()),
    }


def call(command: list[Any], environment: dict[str, str], log: Path) -> str:
    """Run a command; what it says on stderr goes to `log`, whose end is shown when it fails. Returns its stdout."""
    with log.open("w") as errors:
        done = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
            env=environment,
        )
    if done.returncode:
        raise RuntimeError(f"{log} ends with: {log.read_text()[-2000:]}")
    return done.stdout


def variant(settings: dict[str, Any]) -> dict[str, Any]:
    """`ours` with these settings."""
    if unknown := settings.keys() - {"training", "declared"}:
        raise SystemExit(f"--variant: {', '.join(sorted(unknown))}: only `training` and `declared` are settings")
    training = settings.get("training", {})
    return settings | {"training": training | {"codec": UNPROTECTED | training.get("codec", {})}}


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """All trainings that were asked for, seed by seed, so that a run that is stopped has whole comparisons."""
    variants = dict(text.split("=", 1) for text in arguments.variant)
    tables = {name: read(name, arguments.data) for name in arguments.tables or find(arguments.data)}
    folders = {name: prepare(table, arguments.cache, arguments.rows) for name, table in tables.items()}
    for seed in range(arguments.seeds):
        for name, table in tables.items():
            for method in [*arguments.methods, *variants]:
                settings = variant(json.loads(variants[method])) if method in variants else OURS.get(method, {})
                for half in (False, True) if arguments.dcr else (False,):
                    yield Job(table, folders[name][half], method, seed, half, settings)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each table")
    parser.add_argument("--peers", required=True, help="python of the peers' environment")
    parser.add_argument("--tables", nargs="+", help="all that are described when not given")
    methods = (*OURS, *PEERS, *FLOORS)
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--variant", action="append", default=[], help="NAME=JSON: ours with settings, see ours.py")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--dcr", action="store_true", help="train again on one half of the rows")
    parser.add_argument("--rows", type=int, help="of the training rows, to try the benchmark out")
    parser.add_argument("--epochs", type=int, help="of the peers, to try the benchmark out")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = int(os.environ.get("OMP_NUM_THREADS", max(1, cores // arguments.jobs)))
    results: dict[tuple[str, str, int], dict[str, Any]] = {}
    failed = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        todo = {pool.submit(run, job, arguments.peers, threads, arguments.epochs): job for job in jobs(arguments)}
        for future in as_completed(todo):
            job = todo[future]
            try:
                figures = future.result()
            except Exception as error:
                failed.append(job.name)
                print(f"{job.name}: failed: {error}", file=sys.stderr, flush=True)
                continue
            print(json.dumps(figures), flush=True)
            results.setdefault((job.table.name, job.method, job.seed), {}).update(figures)
    means = summary(list(results.values()))
    published = json.loads((HERE / "published.json").read_text())
    checks = sane(means)
    text = markdown(means, published, checks, vars(arguments))
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.json:
        content = {
            "seeds": arguments.seeds,
            "jobs": arguments.jobs,
            "cpus": cores,
            "rows": arguments.rows,
            "epochs": arguments.epochs,
            "variants": arguments.variant,
            "summary": means,
            "sanity": checks,
            "results": [results[key] for key in sorted(results)],
        }
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
