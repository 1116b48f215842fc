#!/usr/bin/env bash
# The seven stages of a fine-tuning (Parthasarathy et al. 2024, arXiv 2408.13296), one after the other:
#   bash experiments/seven_stages/run.sh ROWS OUT [flags of the recipe, such as --base=MODEL --steps=100]
# RECIPE names another recipe than the small form. What a stage leaves is below OUT.
set -euo pipefail
rows=$1 out=$2
shift 2
here=$(dirname "$0")
recipe=(--gin_file="${RECIPE:-$here/cpu.gin}" --data="$out/rows.jsonl" "$@")
stage() { echo "stage $1 of 7: $2" >&2; }
mkdir -p "$out"

stage 1 "data: repair, mask, filter; render and store; look at it"
itune select --input="$rows" --output="$out/rows.jsonl" --gin_file=data/select/clean.gin
itune prepare "${recipe[@]}"
itune inspect data "${recipe[@]}" --html="$out/rows.html"

stage 2 "model: the base as it is, on what is held out"
itune eval "${recipe[@]}" --run_dir="$out/run" --name=before

stage 3 "environment: what is here, and whether the run can be built"
itune doctor
itune train "${recipe[@]}" --run_dir="$out/run" --dry_run

stage 4 "fine-tuning"
itune train "${recipe[@]}" --run_dir="$out/run"

stage 5 "evaluation: the same items, and what differs"
itune eval "${recipe[@]}" --adapter="$out/run" --run_dir="$out/run" --name=after
itune compare "$out/run/evals/before" "$out/run/evals/after" --out="$out/compare.html"
itune report --run_dir="$out/run"

stage 6 "deployment: a folder that others open, and answers of it"
itune export --adapter="$out/run" --format=hf --out="$out/model"
# The first short rows: the small form's model knows 511 characters.
awk -v most="${ANSWERS:-200}" -v longest="${LONGEST:-450}" 'length($0) <= longest && n++ < most' "$out/rows.jsonl" >"$out/prompts.jsonl"
itune generate --base="$out/model" --prompts="$out/prompts.jsonl" --max_new_tokens=24 --output="$out/answers.jsonl"

stage 7 "monitoring: does what is asked and answered drift?"
itune monitor "$out/answers.jsonl" --window=20 --baseline=3 --out="$out/monitor"
