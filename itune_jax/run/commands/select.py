"""`itune select`: rows prepared and chosen, from a file to a file."""

import dataclasses
import re
import time
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.select import score_table
from itune_jax.select import select_protocol
from itune_jax.select import selecting
from itune_jax.select import stages


def select(
  selection: select_protocol.Selection,
  source: str = "",
  output: str = "",
  by: tuple[str, ...] = (),
  keep: select_protocol.Budget = select_protocol.Budget(),
  seed: int | None = None,
  overwrite: bool = False,
) -> dict[str, Any]:
  """Writes the rows that are kept and their manifest; returns the manifest.

  selection: steps, scores, budget and diversity. source: the rows, a file, folder or glob. output: the .jsonl file to
  write. by: names of scores that join those of the selection. keep: how much is kept, in place of the selection's
  budget. seed: in place of the selection's. overwrite: takes the place of an output of other values.
  """
  scores = (*selection.scores, *map(score_table.find, by))
  changed = dataclasses.replace(
    selection,
    scores=scores,
    budget=selection.budget if keep == select_protocol.Budget() else keep,
    seed=selection.seed if seed is None else seed,
  )
  with console.Bars("rows") as bars:
    return selecting.select(changed, source, output, begin=_begun(bars), overwrite=overwrite)


def _begun(bars: console.Bars) -> stages.Begin:
  """Progress as bars, each with its rate."""

  def begin(what: str, total: int | None) -> stages.Advance:
    bar, started, done = bars.add(what, total), time.monotonic(), 0

    def advance(rows: int) -> None:
      nonlocal done
      done += rows
      bar.reach(done, total, f"{done / max(time.monotonic() - started, 1e-9):,.0f} rows/s")

    return advance

  return begin


def budget(text: str) -> select_protocol.Budget:
  """What --keep says: "10%", "5000", "2000000tokens", nothing. Raises InputError for anything else."""
  if not text:
    return select_protocol.Budget()
  found = re.fullmatch(r"(\d+(?:\.\d+)?)(%| ?tokens| ?rows)?", text.strip().replace(",", "").replace("_", ""))
  if found is None or (found[2] != "%" and "." in found[1]) or not float(found[1]):
    raise errors.InputError(
      f"--keep={text}: write a share (10%), a number of rows (5000), or of tokens (2000000tokens)"
    )
  if found[2] == "%":
    return select_protocol.Budget(share=float(found[1]) / 100)
  number = int(found[1])
  return select_protocol.Budget(tokens=number) if "tokens" in (found[2] or "") else select_protocol.Budget(rows=number)


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns how many rows were kept, and what was dropped by step and reason."""
  names = tuple(name.strip() for name in args.by.split(",")) if args.by else ()
  check.require(all(names), f"--by={args.by}: an empty name; write names with commas between them")
  given: dict[str, Any] = {"source": args.input, "output": args.output, "by": names, "keep": budget(args.keep)}
  manifest = gin_setup.call(select, **given, seed=args.seed, overwrite=args.overwrite)
  dropped = {}
  for n, one in enumerate(manifest["passes"]):
    for reason, count in list(one["dropped"].items())[:5]:
      log.info(f"  {one['step']}: dropped {count} rows: {reason}")
    dropped[f"{n}.{one['step']}"] = one["given"] - one["kept"]
  return {"output": args.output, "rows": manifest["rows"], "kept": manifest["kept"], "dropped": dropped}
