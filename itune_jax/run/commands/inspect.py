"""`itune inspect`: what the model will really see, tokens coloured by loss weight."""

import itertools
import os
import sys
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.data import example as example_lib
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import tokenised
from itune_jax.data import validation as validation_lib
from itune_jax.data.render import chat
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run.report import explorer
from itune_jax.run.report import token_page


def inspect(
  *,
  model: specs.Model,
  mixture: mixture_lib.Mixture,
  rendering: chat.Rendering,
  packing: feed_lib.Packing,
  seed: int,
  validation: validation_lib.Validation = validation_lib.Validation(),
  what: str = "data",
  step: int = 0,
  examples: int = 3,
  sample: int = 0,
) -> tuple[token_page.Titled | dict[str, Any], dict[str, Any]]:
  """Titled lists of (token text, weight), and counts; "batch" shows the packed rows of a step before it is trained.
  With `sample`, in their place, what `report.explorer` shows of the data.

  Raises InputError for a negative step, and where the data is not there or, for "batch", not prepared.

  model: whose tokenizer and template are used. mixture: the data. rendering: how conversations become tokens.
  validation: what is held out of it. packing: how rows are packed. seed: of the order of examples. what: "data" or
  "batch". step: whose batch is shown. examples: how many of each source are shown. sample: rows of each source that a
  page of the data draws, 0 for no page.
  """
  renderer = rendering_lib.open_renderer(model, rendering)
  mixture = validation.trained(rendering_lib.opened(mixture))
  piece = lambda ids, weights: list(_pieces(renderer, ids, weights))
  if what == "batch":
    return _batch(renderer, mixture, packing, seed, step, piece)
  check.require(not mixture.manifest, f"{mixture.manifest}: holds no rows of text: look at `itune inspect batch`")
  if mixture.grain:
    raise errors.InputError(f"{mixture.grain} is read as it is trained on: look at `itune inspect batch`")
  if sample:
    found = _explored(renderer, mixture, piece, sample)
    return found, {"rows": sum(one["rows"] for one in found["sources"]), "drawn": len(found["rows"])}
  shown = []
  for source in mixture.sources:
    for row in itertools.islice(source.rows(), examples):
      where = f"{source.name}: {row.file}:{row.line}"
      try:
        if row.example is None:
          raise example_lib.BadRow(row.problem)
        shown += [(where, piece(r.ids, r.weights)) for r in renderer.render(row.example)]
      except example_lib.BadRow as e:
        shown.append((f"{where}: dropped: {e}", []))
  return shown, {"examples": len(shown)}


def _explored(
  renderer: chat.Renderer, mixture: mixture_lib.Mixture, piece: explorer.Pieces, sample: int
) -> dict[str, Any]:
  """What the page of the data shows; counts of what is prepared are those of all rows."""
  folders = (tokenised.source_folder(specs.cache_dir(), tokenised.source_key(s, renderer)) for s in mixture.sources)
  paths = [os.path.join(folder, "manifest.json") for folder in folders]
  manifests = [files.read_object(path) if os.path.exists(path) else None for path in paths]
  return explorer.data(mixture.sources, renderer, piece, manifests, sample)


def _pieces(renderer, ids, weights):
  """(text, weight) of every token; the places of an image are one piece."""
  image = renderer.images
  runs = itertools.groupby(zip(ids, weights, strict=True), lambda pair: image is not None and pair[0] == image.token)
  for is_image, run in runs:
    tokens = [(renderer.tokenizer.decode([int(i)]), float(w)) for i, w in run]
    if is_image:
      yield f"{tokens[0][0]}×{len(tokens)}", 0.0
    else:
      yield from tokens


def _batch(renderer, mixture, packing, seed, step, piece):
  if step < 0:
    raise errors.InputError(f"--step={step}: steps count from 0")
  feed, _ = session_lib.open_feed(mixture, renderer, packing, seed)
  batch, members = feed.batch(step), feed.segments(step)
  shown = []
  for b, row in enumerate(members):
    for segment, (source, index) in enumerate(row, 1):
      here = batch.segments_BT[b] == segment
      # The weight stands on the position that predicts; show it on the token it predicts.
      ids, weights = [*batch.tokens_BT[b, here], batch.targets_BT[b, here][-1]], [0.0, *batch.weights_BT[b, here]]
      if batch.groups_BT is not None and batch.groups_BT[b, here][0] > 0:
        ids, weights = ids[:-1], weights[:-1]  # a prompt that stands once: each segment behind it begins with the next
      shown.append((f"row {b}, segment {segment}: {source}[{index}]", piece(ids, weights)))
  used = float((batch.segments_BT != 0).mean())
  return shown, {
    "step": step,
    "rows": len(members),
    "segments": len(shown),
    "trained_tokens": int((batch.weights_BT != 0).sum()),
    "padding_share": 1 - used,
  }


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command: prints, or writes a page; returns counts."""
  explores = args.html and args.what == "data"
  given = {"what": args.what, "step": args.step, "examples": args.examples, "sample": args.sample if explores else 0}
  shown, counts = gin_setup.call(inspect, **given)
  if args.html:
    page = explorer.page("The data", shown) if explores else token_page.page("itune inspect batch", shown)
    files.write_text(args.html, page)
    log.info(f"wrote {args.html}")
  else:
    print((token_page.coloured if console.in_colour(sys.stdout) else token_page.plain)(shown), end="")
  return counts
