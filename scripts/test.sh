#!/usr/bin/env bash
# bash scripts/test.sh           the default tests: no torch; a row of every contract, goldens, floors, every command once
# bash scripts/test.sh heavy     the heavier rows of contracts, and the slower commands
# bash scripts/test.sh parity    live against torch, transformers, peft, trl, lm-eval
# bash scripts/test.sh full      benchmarks, kill tests and sweeps
# bash scripts/test.sh beam      preparation and selection in pipelines of Apache Beam, in an environment of its own
# bash scripts/test.sh gpu       the kernels of a GPU, on one
# Real data is found through ITUNE_DATA; tests that need it skip without it, and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
weight="${1:-default}"
[ $# -gt 0 ] && shift
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"
case "$weight" in
  default) 
    install_env test
    .venv/bin/ruff check itune_jax tests scripts experiments notebooks
    .venv/bin/pyright
    .venv/bin/python -m pytest -rs -n 2 --dist loadfile --durations=10 "$@" ;;
  heavy)
    install_env test
    .venv/bin/python -m pytest -rs -m heavy -n 2 --dist loadfile --durations=10 "$@" ;;
  parity)
    install_env test; install_env parity
    # Tiny models of every family: compiling them is what takes the time.
    one="--xla_force_host_platform_device_count=1"
    XLA_FLAGS="$one --xla_backend_optimization_level=0" .venv/bin/python -m pytest -rs -m parity -n 2 --dist loadfile tests/parity/families "$@"
    # A real model runs here: optimise, on one device.
    XLA_FLAGS="$one" .venv/bin/python -m pytest -rs -m parity -n 2 --dist loadfile --durations=10 tests/parity --ignore=tests/parity/families "$@" ;;
  full) install_env test; .venv/bin/python -m pytest -rs -m full -s "$@" ;;
  beam)
    install_env test; install_env beam
    .venv/bin/python -m pytest -rs -m full -s tests/run/test_beam.py "$@" ;;
  gpu)
    install_env test; install_env gpu
    JAX_PLATFORMS=cuda,cpu .venv/bin/python -m pytest -W ignore::DeprecationWarning -m "full or not full" tests/nn/attention/test_flash.py "$@" ;;
  *) echo "unknown weight $weight: default, heavy, parity, full, beam or gpu" >&2; exit 2 ;;
esac
