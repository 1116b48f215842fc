"""Prints the parity table at the end; with ITUNE_PARITY_OUT set, writes the figures there as well."""

import json
import os

from tests.parity.families import common


def pytest_sessionfinish():
  if not common.FIGURES:
    return
  names = list(dict.fromkeys(name for row in common.FIGURES.values() for name in row))
  print("\n\nparity with transformers and peft (share of the logit range; gradients relative)")
  print(f"{'':18}" + "".join(f"{name:>10}" for name in names))
  for case, row in common.FIGURES.items():
    print(f"{case:18}" + "".join(f"{row.get(name, float('nan')):10.1e}" for name in names))
  if os.environ.get("ITUNE_PARITY_OUT"):
    with open(os.environ["ITUNE_PARITY_OUT"], "w", encoding="utf-8") as f:
      rounded = {case: {k: float(f"{v:.1e}") for k, v in row.items()} for case, row in common.FIGURES.items()}
      f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in rounded.items()) + "\n}\n")
  print(
    json.dumps(
      {"models": len(common.FIGURES), "worst": {n: max(r.get(n, 0) for r in common.FIGURES.values()) for n in names}}
    )
  )
