"""`itune templates`: templates of the FLAN collection, looked at, rendered and tested."""

import collections
import os
import random
from typing import Any

from itune_jax.core import errors
from itune_jax.data import fields
from itune_jax.data.flan import collection
from itune_jax.data.flan import prompts
from itune_jax.run import command


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command: prints, and returns counts. Raises InputError for what is not there, and where `test` finds rows
  that do not render."""
  if args.what == "list":
    return _list()
  templates = prompts.load(args.name)
  if args.what == "show":
    return _show(templates)
  if args.variant not in prompts.VARIANTS:
    raise errors.InputError(f"--variant={args.variant}: there are {', '.join(prompts.VARIANTS)}")
  kind = os.path.basename(args.name).removesuffix(".json").removesuffix("_ii")
  schema = kind if kind in collection.SUB_MIXTURES else _schema(templates)
  rows = list(collection.read(schema, args.rows))
  return _render(args, templates, rows) if args.what == "render" else _test(args, templates, rows)


def _list() -> dict[str, Any]:
  for name in prompts.kinds():
    one = prompts.load(name)
    print(f"{name:10} {', '.join(one.names):30} {one.about}")
  return {"kinds": len(prompts.kinds()), "variants": list(prompts.VARIANTS)}


def _show(templates: prompts.Templates) -> dict[str, Any]:
  for number, one in enumerate(templates.templates):
    print(f"{number}: {one.inputs!r}\n   {one.targets!r}")
  return {"templates": len(templates.templates), "file": templates.where}


def _render(args: command.Args, templates: prompts.Templates, rows: list[Any]) -> dict[str, Any]:
  variant, count = prompts.VARIANTS[args.variant], len(templates.templates)
  if not -1 <= args.template < count:
    raise errors.InputError(f"--template={args.template}: they are 0 to {count - 1}")
  whole = [row for row in rows if not isinstance(row, str)]
  if not whole:
    raise errors.InputError(f"{args.rows}: no row has the fields {', '.join(templates.names)}")
  for at, row in enumerate(whole[: args.examples]):
    for number in range(count) if args.template < 0 else (args.template,):
      others = [one for one in whole if one is not row]
      try:
        asked, answer, _ = _rendered(args, templates, variant, row, at, number, others)
      except fields.BadRow as e:
        raise errors.InputError(f"{args.rows}: row {at + 1}, template {number}: {e}") from None
      print(f"--- row {at + 1}, template {number}, {variant.name}\n{asked}\n>>> {answer}")
  return {"rows": min(args.examples, len(whole)), "unread": len(rows) - len(whole)}


def _test(args: command.Args, templates: prompts.Templates, rows: list[Any]) -> dict[str, Any]:
  """Every row through every template and variant; what fails is one line with the commonest reason."""
  whole = [row for row in rows if not isinstance(row, str)]
  reasons = collections.Counter(row for row in rows if isinstance(row, str))
  done = 0
  for at, row in enumerate(whole):
    others = whole[at + 1 : at + 7] or whole[:at][:6]
    for variant in prompts.VARIANTS.values():
      for number in range(len(templates.templates)):
        try:
          _rendered(args, templates, variant, row, at, number, others)
          done += 1
        except fields.BadRow as e:
          reasons[str(e)] += 1
  if reasons or not done:
    reason, count = reasons.most_common(1)[0] if reasons else ("there are no rows", 1)
    raise errors.InputError(f"{args.rows}: {done} renderings are whole, {reasons.total()} are not: {count} × {reason}")
  return {"rows": len(whole), "renderings": done}


def _rendered(args, templates, variant, row, at, number, others):
  rng = random.Random(f"{args.seed}/{at}/{number}")
  return prompts.render(templates, row, variant, rng, others, number=number)


def _schema(templates: prompts.Templates) -> str:
  """The sub-mixture whose rows have the fields of templates of the user's own."""
  found = [name for name, names in collection.schemas.NAMES.items() if set(templates.names) <= set(names)]
  if not found:
    raise errors.InputError(f"{templates.where}: no sub-mixture has rows with the fields {', '.join(templates.names)}")
  return found[0]
