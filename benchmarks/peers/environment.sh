#!/usr/bin/env bash
# Creates the environment of the peers: SDV's synthesizers, sdmetrics and XGBoost, with pinned versions.
#
#     benchmarks/peers/environment.sh FOLDER        # then give FOLDER/bin/python to the benchmarks as --peers
#
# PYTHON names the interpreter it is made with (3.11 to 3.13). Where pip would bring torch with CUDA and there is no GPU,
# install torch for the CPU into FOLDER first: the pin accepts it.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
"${PYTHON:-python3}" -m venv "$1"
"$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$(dirname "$0")/requirements.txt"
"$1/bin/python" -c "import sdmetrics, sdv, xgboost; print('sdv', sdv.__version__, 'sdmetrics', sdmetrics.__version__)"
