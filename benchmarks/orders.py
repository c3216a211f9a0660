"""Do synthetic orders make sense? Their customer's town, their town's post code, a total that is price times quantity.

    python benchmarks/orders.py [--rows 60000] [--minutes 4] [--json RESULT.json]

The orders are made: 6,000 customers, each of a town and a segment, 1,500 products, each of a category and a price.
Names of towns come again in several states. What is measured is the share of rows as some made one has them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

import vae_core as vs
from vae_core.config import CodecConfig, TrainingConfig

TOGETHER = (
    ("city", "state"),
    ("zip", "city"),
    ("customer_id", "city"),
    ("customer_id", "segment"),
    ("customer_id", "zip"),
    ("product_id", "category"),
    ("product_id", "unit_price"),
)
CUSTOMERS, PRODUCTS, STATES = 6_000, 1_500, 40
NAMESAKES = 5  # names of towns that many states have
BASE = {"office": 8, "furniture": 180, "technology": 250, "books": 15, "toys": 25, "garden": 40}  # median price
DAYS = {"same day": (0, 1), "first": (1, 4), "second": (2, 6), "standard": (3, 8)}  # until it is shipped


def orders(rows: int, seed: int = 3) -> pd.DataFrame:
    """The orders, by date."""
    random = np.random.default_rng(seed)
    state = np.repeat(np.arange(STATES), random.integers(8, 30, STATES))
    place = np.arange(len(state))
    city = np.where(place % 8 < 2, place % NAMESAKES, NAMESAKES + place)
    town = np.repeat(place, random.integers(1, 5, len(place)))  # of each post code
    code = 10_000 + 2_000 * state[town] + random.permutation(2_000)[np.arange(len(town)) % 2_000]
    size = random.pareto(1.2, len(place))[town] + 0.2
    home = random.choice(len(town), CUSTOMERS, p=size / size.sum())
    segment = random.choice(["consumer", "corporate", "home office"], CUSTOMERS, p=[0.5, 0.3, 0.2])
    category = random.choice(list(BASE), PRODUCTS, p=[0.3, 0.15, 0.2, 0.15, 0.1, 0.1])
    price = np.round(pd.Series(category).map(BASE).to_numpy() * random.lognormal(0, 0.6, PRODUCTS), 2)
    often = [random.gamma(shape, 1, count) for shape, count in ((0.7, CUSTOMERS), (0.6, PRODUCTS))]
    who, what = (random.choice(len(weight), rows, p=weight / weight.sum()) for weight in often)
    where = home[who]
    quantity = np.where(price[what] > 100, random.geometric(0.6, rows), random.geometric(0.3, rows))
    discount = random.choice([0, 0.1, 0.2, 0.3], rows, p=[0.6, 0.2, 0.15, 0.05])
    mode = random.choice(list(DAYS), rows, p=[0.05, 0.15, 0.2, 0.6])
    waits = np.select([mode == each for each in DAYS], [random.integers(*span, rows) for span in DAYS.values()])
    date = pd.Timestamp("2023-01-01") + pd.to_timedelta(np.sort(random.integers(0, 1_000, rows)), unit="D")
    return pd.DataFrame(
        {
            "order_id": [f"ORD-{k:07d}" for k in range(1, rows + 1)],
            "order_date": date,
            "ship_date": date + pd.to_timedelta(waits, unit="D"),
            "ship_mode": mode,
            "customer_id": [f"C{k:05d}" for k in who],
            "segment": segment[who],
            "city": [f"town {k}" for k in city[town[where]]],
            "state": [f"S{k:02d}" for k in state[town[where]]],
            "zip": code[where],
            "product_id": [f"P-{k:04d}" for k in what],
            "category": category[what],
            "unit_price": price[what],
            "quantity": quantity,
            "discount": discount,
            "total": np.round(price[what] * quantity * (1 - discount), 2),
            "returned": random.random(rows) < 0.03 + 0.05 * (discount > 0.15),
        }
    )


def sense(real: pd.DataFrame, made: pd.DataFrame) -> dict[str, float]:
    """Shares of the made rows, in per cent."""
    told = made["unit_price"] * made["quantity"] * (1 - made["discount"])
    found = {"total adds up, to two cents": ((made["total"] - told).abs() < 0.02).mean()}
    found["shipped when ordered or later"] = (made["ship_date"] >= made["order_date"]).mean()
    for columns in TOGETHER:
        known = pd.MultiIndex.from_frame(real[[*columns]].drop_duplicates())
        found[" and ".join(columns)] = pd.MultiIndex.from_frame(made[[*columns]]).isin(known).mean()
    return {name: round(100 * float(share), 2) for name, share in found.items()}


def main() -> None:
    """Make, learn, draw, compare; with relations between columns, and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    real = orders(arguments.rows)
    result = {"real": sense(real, real)}
    for name, relations in (("vaesynth", True), ("without relations", False)):
        with tempfile.TemporaryDirectory() as store:
            config = TrainingConfig(max_minutes=arguments.minutes, codec=CodecConfig(relations=relations))
            model = vs.fit(real, name="orders", training=config, store=store)
            result[name] = sense(real, model.sample(arguments.rows, seed=7))
    print(pd.DataFrame(result).to_string())
    if arguments.json:
        arguments.json.write_text(json.dumps({"minutes": arguments.minutes, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
