"""Score synthetic rows as the published comparisons do. Runs in the peers' environment, without the project.

    python fidelity.py DATA SYNTHETIC.parquet   # prints JSON

DATA has train.parquet, test.parquet and metadata.json (columns, target, task). Where it has other.parquet, train is one
half of the training rows and other the other half, and it is counted which of them holds the nearest row instead.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sdmetrics.reports.single_table import QualityReport
from sdmetrics.utils import HyperTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import mean_squared_error, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler
from xgboost import XGBClassifier, XGBRegressor

MISSING = "(missing)"


def read(path: Path, columns: dict[str, dict[str, str]]) -> pd.DataFrame:
    """The table, missing texts as a level of their own; a category that is written as a number stays one."""
    frame = pd.read_parquet(path)[list(columns)]
    for name in columns:
        if frame[name].dtype == object:
            frame[name] = frame[name].where(frame[name].notna(), MISSING).astype(str)
    return frame


def two_sample_score(real: pd.DataFrame, synthetic: pd.DataFrame) -> float:
    """Sdmetrics' detection metric with XGBoost: 1 - mean over folds of 2·max(1/2, AUC) - 1."""
    texts = [name for name in real if real[name].dtype == object]
    known = all(set(synthetic[name]) <= set(real[name]) for name in texts)
    transformer = HyperTransformer()
    transformer.fit(real if known else pd.concat([real, synthetic]))  # a level that isn't real has a column of its own
    x = np.concatenate([transformer.transform(frame.copy()).to_numpy() for frame in (real, synthetic)])
    x = x.astype(float)
    x[np.isinf(x)] = np.nan
    y = np.repeat([1, 0], [len(real), len(synthetic)])
    scores = []
    for fit, held in StratifiedKFold(n_splits=3, shuffle=True, random_state=0).split(x, y):
        classifier = XGBClassifier(eval_metric="logloss", enable_categorical=True, random_state=0)
        pipeline = make_pipeline(SimpleImputer(), RobustScaler(), classifier).fit(x[fit], y[fit])
        scores.append(2 * max(0.5, roc_auc_score(y[held], pipeline.predict_proba(x[held])[:, 1])) - 1)
    return 1 - float(np.mean(scores))


def utility(train: pd.DataFrame, test: pd.DataFrame, metadata: dict[str, Any]) -> float:
    """AUC on `test` of XGBoost trained on `train`; in a regression the RMSE of log(clip(y, 1, 20000)), as published.

    Rows whose target is missing take no part in a regression; in a classification they are a class.
    """
    target = metadata["target"]
    if metadata["task"] == "regression":
        train, test = train.dropna(subset=[target]), test.dropna(subset=[target])
    features = [name for name in metadata["columns"] if name != target]
    categorical = [name for name in features if metadata["columns"][name]["sdtype"] == "categorical"]
    levels = {name: sorted(set(train[name].astype(str)) | set(test[name].astype(str))) for name in categorical}

    def prepared(frame: pd.DataFrame) -> pd.DataFrame:
        x = frame[features].assign(**{n: pd.Categorical(frame[n].astype(str), levels[n]) for n in categorical})
        moments = x.select_dtypes(["datetime", "datetimetz"]).columns
        return x.assign(**{name: x[name].astype("int64") for name in moments})

    x, x_test = prepared(train), prepared(test)
    options = {"enable_categorical": True, "random_state": 0, "n_estimators": 200, "max_depth": 5, "learning_rate": 0.1}
    if metadata["task"] == "regression":
        y, y_test = (np.log(np.clip(frame[target].astype(float), 1, 20_000)) for frame in (train, test))
        return float(mean_squared_error(y_test, XGBRegressor(**options).fit(x, y).predict(x_test)) ** 0.5)
    # Synthetic rows may lack a class that is tested.
    learned = sorted(set(train[target].astype(str)))
    classes = sorted(set(learned) | set(test[target].astype(str)))
    y, y_test = train[target].astype(str).map(learned.index), test[target].astype(str).map(classes.index)
    probability = np.zeros((len(test), len(classes)))
    places = [classes.index(name) for name in learned]
    probability[:, places] = 1.0 if len(learned) == 1 else XGBClassifier(**options).fit(x, y).predict_proba(x_test)
    if len(classes) == 2:
        return float(roc_auc_score(y_test, probability[:, 1]))
    return float(roc_auc_score(y_test, probability, multi_class="ovr", labels=range(len(classes))))


def copies(rows: pd.DataFrame, train: pd.DataFrame) -> float:
    """Share of `rows` that equal a training row in every column."""
    known = set(map(tuple, train.astype(str).itertuples(index=False)))
    return float(np.mean([row in known for row in map(tuple, rows.astype(str).itertuples(index=False))]))


def nearest_share(half: pd.DataFrame, other: pd.DataFrame, rows: pd.DataFrame, metadata: dict[str, Any]) -> float:
    """Share of `rows` whose nearest training row is in `half` rather than in `other`; ties count half.

    L1 on numbers divided by their range in both halves, plus one-hot categories: 2 for each that differs.
    """
    both = pd.concat([half, other])
    tables: list[list[np.ndarray]] = [[], [], []]
    for name, column in metadata["columns"].items():
        if column["sdtype"] == "categorical":
            levels = {level: i for i, level in enumerate(sorted(set(both[name].astype(str))))}
            scale = np.eye(len(levels) + 1)  # the last one for a level that isn't among the training rows
            for table, frame in zip(tables, (half, other, rows), strict=True):
                table.append(scale[[levels.get(level, len(levels)) for level in frame[name].astype(str)]])
            continue
        numbers = [pd.to_numeric(frame[name]).to_numpy(float, na_value=np.nan) for frame in (half, other, rows)]
        known = np.concatenate(numbers[:2])
        span = np.nanmax(known) - np.nanmin(known) or 1.0
        for table, values in zip(tables, numbers, strict=True):
            gone = np.isnan(values)
            table.append(np.where(gone, np.nanmean(known), values)[:, None] / span)
            if np.isnan(known).any():
                table.append(np.stack([gone, ~gone], axis=1).astype(float))
    near, far, drawn = (np.concatenate(table, axis=1).astype(np.float32) for table in tables)
    wins = 0.0
    for start in range(0, len(drawn), 500):
        a, b = (cdist(drawn[start : start + 500], side, "cityblock").min(axis=1) for side in (near, far))
        tied = np.isclose(a, b, rtol=0, atol=1e-6)
        wins += float(((a < b) & ~tied).sum() + tied.sum() / 2)
    return wins / len(drawn)


def score(train: pd.DataFrame, test: pd.DataFrame, synthetic: pd.DataFrame, metadata: dict[str, Any]) -> dict[str, Any]:
    """All figures but the nearest rows'; errors in per cent."""
    report = QualityReport()
    report.generate(train, synthetic, {"columns": metadata["columns"]}, verbose=False)
    shape, trend = (100 * (1 - value) for value in report.get_properties()["Score"])
    shapes = report.get_details("Column Shapes").sort_values("Score")
    pairs = report.get_details("Column Pair Trends").sort_values("Score")
    return {
        "shape_error": round(shape, 3),
        "trend_error": round(trend, 3),
        "two_sample_score": round(two_sample_score(train, synthetic), 4),
        "utility_synthetic": round(utility(synthetic, test, metadata), 4),
        "utility_real": round(utility(train, test, metadata), 4),
        "copies": round(copies(synthetic, train), 5),
        "copies_of_test": round(copies(test, train), 5),
        "worst_columns": {r.Column: round(100 * (1 - r.Score), 2) for r in shapes.head(3).itertuples()},
        "worst_pairs": [f"{r[1]} × {r[2]}: {100 * (1 - r[4]):.2f}" for r in pairs.head(4).itertuples()],
    }


def main(data: Path, synthetic: Path) -> None:
    """Print the figures as JSON."""
    warnings.simplefilter("ignore")
    metadata = json.loads((data / "metadata.json").read_text())
    train, rows = (read(path, metadata["columns"]) for path in (data / "train.parquet", synthetic))
    if (data / "other.parquet").exists():
        other = read(data / "other.parquet", metadata["columns"])
        figures = {"dcr_share": round(100 * nearest_share(train, other, rows, metadata), 2)}
    else:
        figures = score(train, read(data / "test.parquet", metadata["columns"]), rows, metadata)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
