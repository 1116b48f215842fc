"""`itune select`: rows prepared and chosen, from a file to a file."""

import dataclasses
import os
import re
import time
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.core import log
from itune_jax.data import workers
from itune_jax.run import beam_runner
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import outside as outside_lib
from itune_jax.run import select_endpoint
from itune_jax.sampling.responders import breaker
from itune_jax.sampling.responders import http
from itune_jax.select import beam_passes
from itune_jax.select import score_table
from itune_jax.select import select_protocol
from itune_jax.select import selecting
from itune_jax.select import stages

select_models = lazy.module("itune_jax.run.select_models")  # it loads models, and JAX with them


_THOUSANDS = re.compile(r"(?<=[0-9])[,_](?=[0-9]{3}(?:[,_][0-9]{3})*(?![0-9]))")


def select(
  selection: select_protocol.Selection,
  source: str = "",
  output: str = "",
  by: tuple[str, ...] = (),
  keep: select_protocol.Budget = select_protocol.Budget(),
  seed: int | None = None,
  overwrite: bool = False,
  base: str = "",
  adapter: str = "",
  targets: str = "",
  baselines: bool = False,
  endpoint: select_protocol.Ask | None = None,
  beam: str | None = None,
) -> dict[str, Any]:
  """Writes the rows that are kept and their manifest; returns the manifest.

  selection: steps, scores, budget and diversity. source: the rows, a file, folder or glob. output: the .jsonl file to
  write. by: names of scores that join those of the selection. keep: how much is kept, in place of the selection's
  budget. seed: in place of the selection's, and of all that its parts draw by. overwrite: takes the place of an output
  of other values. base, adapter: the model that scores ask, "" for none. targets: a file of rows of the task that is
  selected for. baselines: writes the rows of each baseline too. endpoint: who is asked in place of a model here. beam:
  options of Apache Beam, whose pipelines then do what they can; None for this process.
  """
  scores = (*selection.scores, *map(score_table.find, by))
  within = selection.budget if keep == select_protocol.Budget() else keep
  changed = dataclasses.replace(selection, scores=scores, budget=within)
  changed = changed if seed is None else select_protocol.seeded(changed, seed)
  with console.Bars("rows") as bars:
    begin = _begun(bars)
    rows = select_models.targets_of(targets) if targets else []
    how: dict[str, Any] = dict(begin=begin, folder=f"{output}.models", targets=rows)
    # A model is opened where it was named, and only then is JAX imported.
    ask = select_models.opened(base, adapter, **how) if base or adapter else endpoint
    spread = None if beam is None else beam_passes.spread(beam_runner.Beam(beam, workers.cores()).run)
    more: dict[str, Any] = {"overwrite": overwrite, "baselines": baselines, "spread": spread}
    return selecting.select(changed, source, output, begin=begin, outside=outside_lib.Outside(), ask=ask, **more)


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
  # Commas part thousands, and nothing else: 1,5% is no number.
  found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%| ?tokens| ?rows)?", _THOUSANDS.sub("", text.strip()))
  if (
    found is None
    or (found[2] != "%" and "." in found[1])
    or not 0 < float(found[1]) <= (100 if found[2] == "%" else 1e18)
  ):
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
  endpoint = _endpoint(args)
  try:
    manifest = gin_setup.call(select, **given, seed=args.seed, endpoint=endpoint, beam=args.beam, **_asked(args))
  finally:  # also where no row is left, which is then why
    if endpoint is not None and endpoint.told:
      log.info(f"  {endpoint.told}")
  for name, own in manifest.get("beside", {}).items():
    log.info(f"  {name}: {_said(own)}")
  dropped = {}
  for n, one in enumerate(manifest["passes"]):
    for reason, count in list(one["dropped"].items())[:5]:
      log.info(f"  {one['step']}: dropped {count} rows: {reason}")
    for row in [row for row in one.get("dropped_rows", ()) if "told" in row][:5]:
      log.info(f"    {row['told']}")
    dropped[f"{n}.{one['step']}"] = one["given"] - one["kept"]
  return {"output": args.output, "rows": manifest["rows"], "kept": manifest["kept"], "dropped": dropped}


def _asked(args: command.Args) -> dict[str, Any]:
  names = ("overwrite", "base", "adapter", "targets", "baselines")
  return {name: getattr(args, name) for name in names}


def _endpoint(args: command.Args) -> select_endpoint.EndpointAsk | None:
  """The endpoint of the flags, None for none. Raises InputError for a key that is not set."""
  if not args.responder:
    return None
  key = os.environ.get(args.key_env, "") if args.key_env else ""
  check.require(not args.key_env or key, f"--key_env={args.key_env}: this variable of the environment is not set")
  asked = http.HttpResponder(
    url=args.responder, model=args.responder_model, key=key, failed="answer", breaker=breaker.Breaker(faults=20)
  )
  return select_endpoint.EndpointAsk(asked, args.responder_model)


def _said(own: dict[str, Any]) -> str:
  """A row of what the baselines would have taken, for a person."""
  if "not_made" in own:
    return f"not made: {own['not_made']}"
  means = ", ".join(f"{name} {mean:.4g}" for name, mean in own["means"].items() if mean is not None)
  return f"{own['rows']} rows, {100 * own['of_them_kept']:.0f} % of them kept; means: {means}"
