#!/usr/bin/env bash
# Writes requirements.lock from an environment in which the tests passed. Run it after changing a dependency.
# `bash scripts/lock.sh beam` writes requirements-beam.lock: the same versions, but for those that apache-beam wants older.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT
python3.11 -m venv "$fresh"
if [ "${1:-}" = beam ]; then
  older="protobuf|pyarrow|pillow|python-dateutil|sentencepiece"
  grep -v -i -E "^($older)==" requirements.lock > "$fresh/same.txt"
  "$fresh/bin/pip" install -qq -r "$fresh/same.txt" apache-beam==2.77.0 protobuf==6.33.6 pyarrow==25.0.1 pillow==12.3.0 \
    python-dateutil==2.9.0.post0 sentencepiece==0.2.1
  {
    echo "# The tested versions with apache-beam (Python 3.11), which wants some older ones than requirements.lock has: an environment of its own."
    echo "# Made by scripts/lock.sh beam; install with: pip install -r requirements-beam.lock"
    "$fresh/bin/pip" freeze
  } > requirements-beam.lock
  echo "wrote requirements-beam.lock: $(grep -c == requirements-beam.lock) packages"
  exit
fi
"$fresh/bin/pip" install -qq ".[prep,eval,data]" "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8"
{
  echo "# The tested versions (Python 3.11). Made by scripts/lock.sh; install with: pip install -r requirements.lock"
  "$fresh/bin/pip" freeze --exclude itune_jax
} > requirements.lock
echo "wrote requirements.lock: $(grep -c == requirements.lock) packages"
