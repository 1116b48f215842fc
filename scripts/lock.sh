#!/usr/bin/env bash
# Writes requirements.lock from the environment the tests passed in. Run it after changing a dependency.
set -euo pipefail
cd "$(dirname "$0")/.."
{
  echo "# The tested versions (Python 3.11). Made by scripts/lock.sh; install with: pip install -r requirements.lock"
  .venv/bin/pip freeze --exclude-editable --exclude itune_jax | grep -viE '^(pytest|pluggy|iniconfig|py-spy|torch|peft|trl|accelerate|lm[-_]eval|ruff|pyright|nodeenv|pre[-_]commit)\b'
} > requirements.lock
echo "wrote requirements.lock: $(grep -c == requirements.lock) packages"
