#!/usr/bin/env bash
# The main job from nothing: environment, base model, data, evaluation, training, evaluation, export, report.
#
#   bash scripts/demo.sh                      4 to 12 minutes on 2 CPU cores
#   DEMO_STEPS=4 DEMO_ITEMS=32 bash …         a short run that shows that everything works
#   DEMO_DATA=train.jsonl DEMO_EVAL=test.jsonl DEMO_CHECK=final_number DEMO_FLAGS="--gin.…" bash …
#                                             the same recipe on your own files
#
# Everything below is what you would type yourself.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
source scripts/env.sh
install_env
installed=$((SECONDS - started))
itune=(.venv/bin/itune)
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}" TF_CPP_MIN_LOG_LEVEL=3

run="${DEMO_RUN:-runs/demo-$(date +%Y%m%d-%H%M%S)}"
recipe=(--gin_file=gin_configs/recipes/demo.gin)
if [ -n "${DEMO_DATA:-}" ]; then
  recipe+=(--gin_file=overlays/own_data.gin "--gin.DATA='$DEMO_DATA'" "--gin.EVAL_DATA='${DEMO_EVAL:?DEMO_DATA needs DEMO_EVAL, the held-out file}'")
  recipe+=("--gin.CHECK='${DEMO_CHECK:-exact}'")
fi
[ -n "${DEMO_STEPS:-}" ] && recipe+=("--gin.STEPS=$DEMO_STEPS")
[ -n "${DEMO_ITEMS:-}" ] && recipe+=("--gin.EVAL_LIMIT=$DEMO_ITEMS")
read -r -a flags <<< "${DEMO_FLAGS:-}"
recipe+=("${flags[@]}")

step() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; "$@" > /dev/null; }
step "${itune[@]}" prepare "${recipe[@]}"
before=$SECONDS
step "${itune[@]}" eval "${recipe[@]}" --run_dir="$run" --name=before
before=$((SECONDS - before)); training=$SECONDS
step "${itune[@]}" train "${recipe[@]}" --run_dir="$run"
training=$((SECONDS - training)); after=$SECONDS
step "${itune[@]}" eval "${recipe[@]}" --run_dir="$run" --adapter="$run" --name=after
after=$((SECONDS - after)); export_s=$SECONDS
step "${itune[@]}" export --adapter="$run" --format=peft --out="$run/peft"
step "${itune[@]}" report --run_dir="$run"
export_s=$((SECONDS - export_s))
.venv/bin/python scripts/demo_table.py "$run" "install_s=$installed" "eval_before_s=$before" "training_s=$training" "eval_after_s=$after" \
  "export_report_s=$export_s" "wall_s=$((SECONDS - started))"
