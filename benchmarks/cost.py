"""What billions of rows cost on 1, 10 and 100 machines: arithmetic from what generation.py measured.

    python benchmarks/cost.py [--rows 10000000000] [--write docs/scale.md]

Reads results/generation.json (rows/s of a machine and bytes a row, of its longest run) and prints the table of
docs/scale.md, or puts it there. What isn't measured there is named below, with where it comes from.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path

HERE = Path(__file__).parent
ROW_GROUP = 131_072
FILE = 256e6  # bytes that the default size of a file aims at, see vae_core/generation/plan.py
SMALL = 2**22  # rows of a smaller file, for comparison
UPLOAD = 10 << 20  # bytes of a part of an upload, pyarrow's
# Counted on moto's server for a shard: begin, complete and look at the upload; put, look for and read the record.
WRITES, READS = 3, 6
HASHED = 680e6  # bytes/s of a file that one core hashes with sha256, on the machine of the results
SHARE = 1.25e9  # bytes/s of a file server at 10 Gbit/s
PREFIX = 3500  # writes/s that S3 takes a prefix, as its documentation says
PUT, GET, MONTH = 0.005 / 1000, 0.0004 / 1000, 0.023 / 1e9  # list prices of S3 in us-east-1, dollars


def span(seconds: float) -> str:
    """`6 h 10 min`, `37 min`, `4.9 min`."""
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"


def table(rows: int, rate: float, workers: int, size: float) -> list[str]:
    """The lines of the document, for a machine that makes `rate` rows/s of `size` bytes with `workers` cores."""
    default = ROW_GROUP << round(math.log2(FILE / (size * ROW_GROUP)))

    def seconds(machines: int, shard: int) -> float:
        """As long as the core that gets the most files takes."""
        rounds = math.ceil(math.ceil(rows / shard) / (machines * workers))
        return rounds * shard / (rate / workers)

    lines = [
        f"{rows:,} rows of Adult, {workers} cores a machine, {rate:,.0f} rows/s a machine, {size:.2f} bytes a row:",
        "",
        f"| machines | all cores busy | files of {default * size / 1e6:.0f} MB (default) "
        f"| files of {SMALL * size / 1e6:.0f} MB | written a second |",
        "|---:|---:|---:|---:|---:|",
    ]
    for machines in (1, 10, 100):
        ideal, usual, small = rows / rate / machines, seconds(machines, default), seconds(machines, SMALL)
        lines.append(
            f"| {machines} | {span(ideal)} | {span(usual)} ({ideal / usual:.0%} busy) "
            f"| {span(small)} ({ideal / small:.0%} busy) | {rows * size / small / 1e6:,.0f} MB |"
        )
    lines += ["", "| | default files | smaller files |", "|---|---:|---:|"]
    files = [math.ceil(rows / shard) for shard in (default, SMALL)]
    uploads = [math.ceil(shard * size / UPLOAD) for shard in (default, SMALL)]
    writes = [count * (WRITES + parts) for count, parts in zip(files, uploads, strict=True)]
    reads = [count * READS for count in files]
    hashing = rows * size / HASHED
    share = SHARE / (rate * size)
    prefix = [
        PREFIX / ((WRITES + parts) * rate / shard) for parts, shard in zip(uploads, (default, SMALL), strict=True)
    ]
    lines += [
        f"| `rows_per_shard` | {default:,} | {SMALL:,} |",
        f"| files | {files[0]:,} | {files[1]:,} |",
        f"| storage | {rows * size / 1e9:.1f} GB (${rows * size * MONTH:.2f} a month in S3) | the same |",
        f"| S3 requests that write | {writes[0]:,} (${writes[0] * PUT:.2f}) | {writes[1]:,} (${writes[1] * PUT:.2f}) |",
        f"| S3 requests that read | {reads[0]:,} (${reads[0] * GET:.4f}) | {reads[1]:,} (${reads[1] * GET:.4f}) |",
        f"| processor time | {rows / rate * workers / 3600:.1f} core-hours | the same |",
        f"| `verify`, or `--resume` of a folder, on one core | {span(hashing)} | the same |",
        f"| machines that fill a file server of 10 Gbit/s | {share:,.0f} | the same |",
        f"| machines that reach S3's {PREFIX:,} writes/s | {prefix[0]:,.0f} | {prefix[1]:,.0f} |",
    ]
    return lines


def main() -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10**10)
    parser.add_argument("--write", type=Path, help="put it between the marks of this document")
    arguments = parser.parse_args()
    measured = json.loads((HERE / "results/generation.json").read_text())
    run = max(measured["runs"], key=lambda each: int(each["rows"]))
    text = "\n".join(table(arguments.rows, run["rows_per_second"], measured["workers"], run["bytes_per_row"]))
    if arguments.write is None:
        print(text)
        return
    marks = re.compile(r"(<!-- benchmarks/cost\.py -->\n).*(<!-- end -->)", re.DOTALL)
    document, count = marks.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", arguments.write.read_text())
    assert count == 1, "the marks are missing"
    arguments.write.write_text(document)


if __name__ == "__main__":
    main()
