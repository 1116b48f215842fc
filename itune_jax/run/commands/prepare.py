"""`itune prepare`: the training data of a recipe, rendered, tokenised and cached by content."""

import json
import os
from typing import Any

from rich import progress as rich_progress
import rich.console

from itune_jax.core import files
from itune_jax.core import log
from itune_jax.data import tokenised
from itune_jax.data.render import chat
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import tasks
from itune_jax.run import gin_setup
from itune_jax.run import runtime
from itune_jax.run import specs


def prepare(
  model: specs.Model, mixture: mixture_lib.Mixture, rendering: chat.Rendering, dry_run: bool = False
) -> dict[str, Any]:
  """Writes the cache of every source and the mixture's manifest; returns the manifest.

  What is already there is not made again. With dry_run only rows and rates are found.
  """
  renderer = runtime.open_renderer(model, rendering)
  root = specs.cache_dir()
  path = tokenised.mixture_file(root, tokenised.mixture_key(mixture, renderer))
  if os.path.exists(path) and not dry_run:
    log.info(f"mixture {mixture.name} is already prepared: {path}")
    return files.read_json(path)
  registered = tasks.register(mixture)
  rates = tasks.rates(mixture, registered)
  if dry_run:
    return {
      "name": mixture.name,
      "rates": rates,
      "sources": [{"name": s.name, "rows": sum(1 for _ in s.rows())} for s in mixture.sources],
    }
  sources = []
  columns = (
    rich_progress.TextColumn("{task.description}"),
    rich_progress.TextColumn("{task.completed:.0f} rows"),
    rich_progress.TimeElapsedColumn(),
  )
  with rich_progress.Progress(*columns, console=rich.console.Console(stderr=True)) as bar:
    for source in mixture.sources:
      task = bar.add_task(f"prepare {source.name}", total=None)
      sources.append(
        tokenised.write_source(
          root, mixture, source, renderer, tasks.rows(mixture, source), lambda task=task: bar.advance(task)
        )
      )
  manifest = {"name": mixture.name, "rates": rates, "sources": sources}
  files.write_json(path, manifest)
  log.info(f"wrote {path}")
  return manifest


def main(args) -> None:
  """Runs the command; the last line of stdout is one JSON object."""
  gin_setup.parse("prepare", args.gin_file, args.overrides)
  manifest = gin_setup.call(prepare, dry_run=args.dry_run)
  for source in manifest["sources"]:
    problems = source.get("dropped_by_reason") or {}
    for reason, count in problems.items():
      log.info(f"  {source['name']}: dropped {count} rows: {reason}")
    for row in source.get("dropped_rows", [])[:5]:
      log.info(f"    {row['file']}:{row['line']}: {row['reason']}")
  keys = ("name", "rows", "kept", "dropped", "truncated", "tokens", "trained_tokens")
  print(
    json.dumps(
      {
        "mixture": manifest["name"],
        "rates": manifest["rates"],
        "sources": [{k: s[k] for k in keys if k in s} for s in manifest["sources"]],
      }
    )
  )
