"""Score synthetic rows as the published comparisons do. Runs in the peers' environment, without the project.

python fidelity.py FOLDER TARGET   # train.csv, test.csv, synthetic.csv → JSON on stdout
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sdmetrics.reports.single_table import QualityReport
from sdmetrics.utils import HyperTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import mean_squared_error, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler
from xgboost import XGBClassifier, XGBRegressor

MISSING = "(missing)"


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    """The three tables, categories as text with missing as a level; and the names of the categorical columns."""
    frames = [pd.read_csv(folder / f"{name}.csv") for name in ("train", "test", "synthetic")]
    train = frames[0]
    categorical = [name for name in train if train[name].dtype == object or train[name].dtype == bool]
    for frame in frames:
        for name in categorical:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), MISSING).astype(str)
    return (*frames, categorical)


def two_sample_score(real: pd.DataFrame, synthetic: pd.DataFrame) -> float:
    """Sdmetrics' detection metric with XGBoost: 1 - mean over folds of 2·max(1/2, AUC) - 1."""
    transformer = HyperTransformer()
    x = np.concatenate([transformer.fit_transform(real).to_numpy(), transformer.transform(synthetic).to_numpy()])
    y = np.repeat([1, 0], [len(real), len(synthetic)])
    scores = []
    for fit, held in StratifiedKFold(n_splits=3, shuffle=True, random_state=0).split(x, y):
        classifier = XGBClassifier(eval_metric="logloss", enable_categorical=True, random_state=0)
        pipeline = make_pipeline(SimpleImputer(), RobustScaler(), classifier).fit(x[fit], y[fit])
        scores.append(2 * max(0.5, roc_auc_score(y[held], pipeline.predict_proba(x[held])[:, 1])) - 1)
    return 1 - float(np.mean(scores))


def utility(train: pd.DataFrame, test: pd.DataFrame, target: str, categorical: list[str]) -> float:
    """AUC (RMSE for a numeric target) on `test` of XGBoost trained on `train`."""
    features = [name for name in test if name != target]
    levels = {name: sorted(set(train[name]) | set(test[name])) for name in categorical}
    x, x_test = (
        frame[features].assign(**{n: pd.Categorical(frame[n], levels[n]) for n in features if n in levels})
        for frame in (train, test)
    )
    options = {"enable_categorical": True, "random_state": 0, "n_estimators": 200, "max_depth": 5, "learning_rate": 0.1}
    if target not in categorical and test[target].nunique() > 2:
        predicted = XGBRegressor(**options).fit(x, train[target]).predict(x_test)
        return float(mean_squared_error(test[target], predicted) ** 0.5)
    positive = sorted(set(test[target]))[-1]
    classifier = XGBClassifier(**options).fit(x, train[target] == positive)
    return float(roc_auc_score(test[target] == positive, classifier.predict_proba(x_test)[:, 1]))


def copies(rows: pd.DataFrame, train: pd.DataFrame) -> float:
    """Share of `rows` that equal a training row in every column."""
    known = set(map(tuple, train.astype(str).itertuples(index=False)))
    return float(np.mean([row in known for row in map(tuple, rows.astype(str).itertuples(index=False))]))


def main(folder: Path, target: str) -> None:
    """Print the figures as JSON; errors in per cent."""
    warnings.simplefilter("ignore")
    train, test, synthetic, categorical = read(folder)
    kinds = {name: {"sdtype": "categorical" if name in categorical else "numerical"} for name in train}
    report = QualityReport()
    report.generate(train, synthetic, {"columns": kinds}, verbose=False)
    shape, trend = (100 * (1 - score) for score in report.get_properties()["Score"])
    shapes = report.get_details("Column Shapes").sort_values("Score")
    pairs = report.get_details("Column Pair Trends").sort_values("Score")
    print(
        json.dumps(
            {
                "shape_error": round(shape, 3),
                "trend_error": round(trend, 3),
                "two_sample_score": round(two_sample_score(train, synthetic), 4),
                "utility_synthetic": round(utility(synthetic, test, target, categorical), 4),
                "utility_real": round(utility(train, test, target, categorical), 4),
                "copies": round(copies(synthetic, train), 5),
                "copies_of_test": round(copies(test, train), 5),
                "worst_columns": {r.Column: round(100 * (1 - r.Score), 2) for r in shapes.head(3).itertuples()},
                "worst_pairs": [f"{r[1]} × {r[2]}: {100 * (1 - r[4]):.2f}" for r in pairs.head(4).itertuples()],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
