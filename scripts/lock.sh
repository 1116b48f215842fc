#!/usr/bin/env bash
# Writes requirements.lock from an environment in which the tests passed. Run it after changing a dependency.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT
python3.11 -m venv "$fresh"
"$fresh/bin/pip" install -qq ".[prep,eval,data]" "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8"
{
  echo "# The tested versions (Python 3.11). Made by scripts/lock.sh; install with: pip install -r requirements.lock"
  "$fresh/bin/pip" freeze --exclude itune_jax
} > requirements.lock
echo "wrote requirements.lock: $(grep -c == requirements.lock) packages"
