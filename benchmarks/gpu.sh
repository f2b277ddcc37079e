#!/usr/bin/env bash
# Everything that waits for a GPU, in stages of at most nine minutes each; training resumes where it stopped.
#
#   benchmarks/gpu.sh tests            the tests that need CUDA, and every model card's golden output on the device
#   benchmarks/gpu.sh train NAME       recipes/NAME.toml; run it again until it prints the checkpoint. A chain of iteration
#                                      pruning: train pip --set model=pipstereo-i32
#   benchmarks/gpu.sh flashgru         FlashGRU's tests, its table (dense and sparse units at three sizes), two profiles
#   benchmarks/gpu.sh accuracy NAME…   EPE under FlashGRU's masks, without and with 1,000 steps of training under the best
#                                      one; run it again until it prints the last model's execution
#   benchmarks/gpu.sh speed            polzoo bench of the shipped models and of raft beside their plain form, at two sizes
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
    timeout --signal=INT 520 python3 -m polzoo train "recipes/$2.toml" --out "$run" --resume "${@:3}" 2>&1 \
      | tee -a "$out/train-$2.txt"
    ;;
  accuracy)
    timeout --signal=INT 520 python3 benchmarks/flashgru_accuracy.py "${@:2}" --device cuda \
      --out "$out/flashgru_accuracy.json" --figure "$out/flashgru-accuracy.png" 2>&1 | tee -a "$out/accuracy.txt"
    ;;
  speed)
    bench() { # name of the result, model, size, further options
      python3 -m polzoo bench "$2" --size "$3" "${@:4}" --against plain --device cuda --rounds 20 --warmup 5 \
        --json "$out/bench-$1-$3.json" | tee -a "$out/speed.txt"
    }
    for model in $(python3 -c 'import polzoo; print(*polzoo.list_models())') raft; do
      for size in 256x320 320x736; do bench "$model" "$model" "$size"; done
    done
    bench raft-compiled raft 320x736 --dtype float16 --compile
    ;;
  flashgru) # a dry run: --device cpu --dtype float32 --size 48x64 --channels 8 --rounds 1 --no-compile --threads 1
    failed=0
    timeout 120 python3 -m pytest -q tests/test_gpu.py -k flashgru | tee "$out/flashgru-tests.txt" || failed=1
    timeout 330 python3 -m polzoo bench flashgru --device cuda --dtype float16 --rounds 20 --seconds 180 \
      --json "$out/flashgru.json" --figure "$out/flashgru.png" "${@:2}" | tee "$out/flashgru.txt" || failed=1
    for form in native "density 0.2"; do # bytes and requests by the hardware's counters, where they may be read
      command -v ncu >/dev/null || break
      timeout 45 ncu --profile-from-start off --clock-control none --csv --log-file "$out/ncu-${form// /-}.csv" \
        --metrics dram__bytes_read.sum,dram__bytes_write.sum,lts__t_requests.sum \
        python3 -m polzoo bench flashgru --device cuda --dtype float16 --size 1280x2944 --profile "$form" \
        || echo "no counters for $form"
    done
    exit "$failed"
    ;;
  *)
    sed -n '2,14s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
