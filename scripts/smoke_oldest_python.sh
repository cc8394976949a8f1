#!/usr/bin/env bash
# Installs the pinned run-time dependencies on the oldest Python supported (3.11, which gets
# an older jax), with the oldest scikit-learn, and runs a short end-to-end check there.
set -euo pipefail
cd "$(dirname "$0")/.."

# pyenv, where there is one, needs to be told that 3.11 is meant here.
export PYENV_VERSION=3.11
python=${OLDEST_PYTHON:-$(command -v python3.11 || true)}
if [ -z "$python" ] || ! "$python" --version >/dev/null 2>&1; then
  echo "smoke: no Python 3.11 found; set OLDEST_PYTHON to its path" >&2
  exit 1
fi
pip="-m pip --disable-pip-version-check --quiet"
if [ ! -e .venv-oldest/ready ] || [ requirements/run.txt -nt .venv-oldest/ready ] ||
  [ scripts/smoke_oldest_python.sh -nt .venv-oldest/ready ]; then
  "$python" -m venv .venv-oldest
  .venv-oldest/bin/python $pip install --require-hashes --no-deps -r requirements/run.txt
  .venv-oldest/bin/python $pip install --no-deps scikit-learn==1.7.2
  .venv-oldest/bin/python $pip install --no-deps --no-build-isolation --editable .
  touch .venv-oldest/ready
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
.venv-oldest/bin/python scripts/smoke.py
.venv-oldest/bin/jaxmlp train --out "$out/plain" --recipe lecture --hidden 0,16 \
  --learning-rate 0.1 --quiet
.venv-oldest/bin/jaxmlp train --out "$out/model" --json >"$out/report.json"
.venv-oldest/bin/jaxmlp export "$out/model" --out "$out/model.onnx" --quiet
.venv-oldest/bin/python - "$out/report.json" <<'PYTHON'
import json, sys

report = json.load(open(sys.argv[1]))
assert report["test"]["accuracy"] >= 0.95, report["test"]
versions = report["versions"]
print(f"smoke: python {versions['python']}, jax {versions['jax']}, "
      f"scikit-learn {versions['scikit-learn']}: "
      f"test accuracy {report['test']['accuracy']:.4f}")
PYTHON
