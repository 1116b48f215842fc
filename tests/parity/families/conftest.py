"""Prints the parity tables at the end; with ITUNE_PARITY_OUT set, writes those of the families there as well."""

import json
import os

import pytest

from tests.parity.families import common

_TABLES = {"families": common.FIGURES, "methods": common.METHODS}
_TITLES = {
  "families": "parity with transformers and peft (share of the logit range; gradients relative)",
  "methods": "adapters through peft's folders (share of the logit range)",
}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
  """What the workers of pytest-xdist measured."""
  for name, table in getattr(node, "workeroutput", {}).get("tables", {}).items():
    for case, row in table.items():
      _TABLES[name].setdefault(case, {}).update(row)


def pytest_sessionfinish(session):
  output = getattr(session.config, "workeroutput", None)
  if output is not None:
    output["tables"] = _TABLES
    return
  for title, table in ((_TITLES[name], table) for name, table in _TABLES.items() if table):
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    print(f"\n\n{title}\n{'':18}" + "".join(f"{name:>12}" for name in names))
    for case, row in table.items():
      print(f"{case:18}" + "".join(f"{row.get(name, float('nan')):12.1e}" for name in names))
    print(json.dumps({"rows": len(table), "worst": {n: max(r.get(n, 0) for r in table.values()) for n in names}}))
  if common.FIGURES and os.environ.get("ITUNE_PARITY_OUT"):
    with open(os.environ["ITUNE_PARITY_OUT"], "w", encoding="utf-8") as f:
      rounded = {case: {k: float(f"{v:.1e}") for k, v in row.items()} for case, row in common.FIGURES.items()}
      f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in rounded.items()) + "\n}\n")
