"""`itune constraint_pairs`: preferences over prompts, made of given answers (`synth.prompt_pairs`)."""

import collections
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.data.readers import readers
from itune_jax.run import command
from itune_jax.synth import prompt_pairs


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns how many pairs of each kind were made, and of how many answers none could be. Raises
  InputError for data without an answer, and for a file that is there already."""
  check.require(not files.exists(args.out), f"--out={args.out} is there already: give a new file")
  how = prompt_pairs.Pairs(kinds=tuple(k.strip() for k in args.kinds.split(",")), most=args.most, seed=args.seed)
  rows = list(readers.read(args.data))
  for reason, count in collections.Counter(row.problem for row in rows if row.example is None).most_common(5):
    log.info(f"  {count} rows left out: {reason}")
  examples = [row.example for row in rows if row.example is not None and row.example.answer.strip()]
  if not examples:
    raise errors.InputError(f"{args.data}: no row has an answer to make pairs of")
  counts: dict[str, int] = {}
  lines = [jsontext.dumps(row) + "\n" for row in how.rows(examples, counts)]
  files.write_text(args.out, "".join(lines))
  return {
    "out": args.out,
    "pairs": len(lines),
    "rows": len(rows),
    "answers": len(examples),
    "bad_rows": sum(row.example is None for row in rows),
    **counts,
  }
