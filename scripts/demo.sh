#!/usr/bin/env bash
# The main job from nothing: makes the environment, and calls `itune demo` in it with what stands behind the script.
#
#   bash scripts/demo.sh                         4 to 12 minutes on 2 CPU cores
#   bash scripts/demo.sh --steps 4 --limit 32    a short run that shows that everything works
#   bash scripts/demo.sh --data train.jsonl --eval_data test.jsonl --check final_number --gin.…
#                                                the same recipe on your own files
set -euo pipefail
here="$PWD"
cd "$(dirname "$0")/.."
root="$PWD"
source scripts/env.sh
install_env
cd "$here"
exec "$root/.venv/bin/itune" demo "$@"
