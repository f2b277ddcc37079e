#!/usr/bin/env bash
# Everything that waits for a GPU, in stages of at most nine minutes each; training resumes where it stopped.
#
#   benchmarks/gpu.sh tests            the tests that need CUDA, and every model card's golden output on the device
#   benchmarks/gpu.sh train NAME       recipes/NAME.toml; run it again until it prints the checkpoint
#   benchmarks/gpu.sh speed            median time per pair of the shipped models and of raft at three sizes
#
# A machine without an index: put wheels of what it lacks (pydantic, pluggy, …) into .whl/ first. Results go to $OUT
# (default: benchmarks/results/gpu).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results/gpu}
mkdir -p "$out"
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1
if compgen -G ".whl/*.whl" >/dev/null; then
  python3 -m pip install -q --no-index --no-deps --target /tmp/polzoo-site .whl/*.whl
  export PYTHONPATH="$PWD:/tmp/polzoo-site"
fi

case "${1:-}" in
  tests)
    python3 -m pytest -q tests/test_gpu.py | tee "$out/tests.txt"
    python3 -m polzoo verify --all --device cuda | tee -a "$out/tests.txt"
    ;;
  train)
    run="runs/${2:?name of a recipe}"
    [ -d "$run/state" ] && resume=--resume || resume=
    timeout --signal=INT 520 python3 -m polzoo train "recipes/$2.toml" --out "$run" $resume 2>&1 | tee -a "$out/train-$2.txt"
    ;;
  speed)
    python3 benchmarks/speed.py --device cuda --out "$out/speed.json"
    ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
