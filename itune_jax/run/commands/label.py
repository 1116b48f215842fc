"""`itune label`: a page that asks people, and what they answered as rows, with how far they agree."""

from collections.abc import Mapping, Sequence
import collections
import json
import os
from typing import Any

import rich.table

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run.label import picking
from itune_jax.run.label import saying
from itune_jax.run.label import settled_rows
from itune_jax.run.label import settling
from itune_jax.run.label import sheets
from itune_jax.run.label import shown_rows
from itune_jax.run.report import label_page
from itune_jax.select import input_rows

# They bring JAX, which the making of a page of rows does without.
reckoning = lazy.module("itune_jax.run.label.reckoning")
versus = lazy.module("itune_jax.run.label.versus")

PAGE, KEY = "label.html", "key.json"
TOLD = 20  # lines about bad answers that are printed; the report has all of them
_QUESTIONS: Mapping[str, str] = {
  "answer": "Correct the answer, or write one where there is none. Leave it as it is where it is right.",
  "rating": "How good is the answer?",
  "label": "Which label fits?",
  "preference": "Which of the two answers is better?",
}


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns where the page is, or what the answers came to."""
  return read_back(args) if args.answers is not None else make(args)


def make(args: command.Args) -> dict[str, Any]:
  """Writes the page and its key. Raises InputError where nothing can be asked, or a page stands there already."""
  page, key = (os.path.join(args.out, name) for name in (PAGE, KEY))
  if not args.overwrite and (there := next((path for path in (page, key) if os.path.exists(path)), None)):
    raise errors.InputError(f"{there} is there already: give --overwrite to replace it, or another folder")
  sheet, rows, left_out = _of_systems(args) if args.a is not None else _of_rows(args)
  files.write_json(key, sheet.to_key())
  files.write_text(page, label_page.page(sheet))
  for reason, count in left_out.items():
    log.info(f"  left out: {count} × {reason}")
  log.info(f"wrote {page}; what it must not show is in {key}, which reads its answers back (--key)")
  controls = sum(item.gold is not None for item in sheet.items)
  own = {"page": page, "key": key, "sheet": sheet.digest, "rows": rows, "items": len(sheet.items)}
  return own | ({"controls": controls} if controls else {}) | {"left_out": left_out}


def read_back(args: command.Args) -> dict[str, Any]:
  """Writes the rows that people settled on and a report beside them; returns its figures.

  Raises InputError for answers and keys that do not fit together. RunError when no row is left.
  """
  report_path = f"{args.out.removesuffix('.jsonl')}.report.json"
  if not args.overwrite and os.path.exists(args.out):
    raise errors.InputError(f"{args.out} is there already: give --overwrite to replace it, or another name")
  given = [sheets.read(path) for path in args.key]
  kinds = {sheet.kind for sheet in given}
  check.require(len(kinds) == 1, f"--key: pages of {' and '.join(sorted(kinds))}: rows of one kind go into one file")
  _same_file(args.file, args.key, given)
  threshold = settling.Threshold(agree=args.agree or 0.0, least=args.least or 1, right=args.right or 0.0)
  read = saying.read(args.answers, given)
  _tell(read)
  people = settling.controls(read.said)
  failing = settling.failing(people, threshold)
  for name in failing:
    log.info(f"  {name}: {people[name].right} of {people[name].seen} controls right: what they said does not count")
  said = [one.without(failing) for one in read.said]
  rows, told, left_out = [], [], collections.Counter()
  for one in said:
    settled, out = settling.settle(one, threshold)
    left_out.update(out)
    rows += settled_rows.rows(one, settled, args.field or "label")
    own = {"sheet": one.sheet.digest, "items": len(one.sheet.items), "settled": len(settled), "left_out": out}
    told.append(own | reckoning.among_people(one) | {"judges": reckoning.judges(one, settled, args.judge or ())})
  if not rows:
    why = "; ".join(f"{n} × {reason}" for reason, n in left_out.items())
    raise errors.RunError(f"no row is left ({why}); {args.out} is not written")
  report: dict[str, Any] = {
    "rows": len(rows),
    "answers": {"lines": read.lines, "read": sum(len(one.answers) for one in read.said), "refused": dict(read.refused)},
    "left_out": dict(left_out.most_common()),
    "annotators": reckoning.of_people(read.said, people),
    "left_out_annotators": failing,
    "strengths": reckoning.strengths(said),
    "sheets": told,
  }
  files.write_text(args.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
  files.write_json(report_path, {**report, "told": list(read.told)})
  _show(report)
  return {"out": args.out, "report": report_path, **{k: v for k, v in report.items() if k != "sheets"}, "sheets": told}


def _of_rows(args: command.Args) -> tuple[sheets.Sheet, int, dict[str, int]]:
  """A sheet of rows of a file, how many rows it has, and which were left out."""
  labels, columns = (_names(given, flag) for given, flag in ((args.labels, "labels"), (args.columns, "columns")))
  values = sheets.values(args.kind, labels, args.scale or "1,5")
  how = shown_rows.How(kind=args.kind, values=values, columns=columns, gold=args.gold or "", seed=args.seed)
  found = picking.pick(args.file, how, _pick(args))
  inputs = [{"file": path, "sha256": files.sha256(path)} for path in input_rows.files(args.file)]
  origin = {"inputs": inputs, "seed": args.seed, "columns": list(columns), "left_out": found.left_out}
  return _sheet(args, args.kind, values, found.items, origin), found.rows, found.left_out


def _of_systems(args: command.Args) -> tuple[sheets.Sheet, int, dict[str, int]]:
  """A sheet of blind pairs."""
  first, second = versus.systems([args.a, args.b], args.benchmark or "")
  prompts = versus.prompts_of(args.file) if args.file else {}
  found, left_out = versus.items(first, second, prompts, args.seed)
  pick, rows = _pick(args), len(found) + sum(left_out.values())
  items = picking.of_items(found, pick)
  if len(items) < len(found):
    left_out["not chosen"] = len(found) - len(items)
  inputs = [{"file": one.path, "sha256": versus.digest(one.path), "system": one.name} for one in (first, second)]
  origin = {"inputs": inputs, "seed": args.seed, "systems": [first.name, second.name], "left_out": left_out}
  return _sheet(args, "preference", sheets.values("preference", (), ""), tuple(items), origin), rows, left_out


def _sheet(args: command.Args, kind, values, items, origin) -> sheets.Sheet:
  question = args.question or _QUESTIONS[kind]
  return sheets.Sheet(kind=kind, question=question, values=values, items=tuple(items), origin=origin)


def _pick(args: command.Args) -> picking.Pick:
  given = {
    "most": args.items,
    "score": args.score,
    "near": args.near,
    "pool": args.pool,
    "controls": args.controls,
    "margin": _names(args.margin, "margin") or None,
  }
  return picking.Pick(seed=args.seed, **{name: value for name, value in given.items() if value is not None})


def _names(text: str | None, flag: str) -> tuple[str, ...]:
  """The names in `A,B`. Raises InputError for an empty one."""
  if text is None:
    return ()
  names = tuple(name.strip() for name in text.split(","))
  check.require(all(names), f"--{flag}={text}: an empty name; write names with commas between them")
  return names


def _same_file(path: str, keys: Sequence[str], given: Sequence[sheets.Sheet]) -> None:
  """Raises InputError where a file is named that a page was not made of."""
  if not path:
    return
  digests = {files.sha256(one) for one in input_rows.files(path)}
  for key, sheet in zip(keys, given, strict=True):
    known = {one["sha256"] for one in sheet.origin.get("inputs", ())}
    check.require(digests <= known, f"{key}: its page was not made of {path} as it is now; leave the file out to go on")


def _tell(read: saying.Read) -> None:
  """Says what of the files is no answer."""
  for line in read.told[:TOLD]:
    log.info(f"  {line}")
  if len(read.told) > TOLD:
    log.info(f"  and {len(read.told) - TOLD} more; the report has all of them")


def _show(report: Mapping[str, Any]) -> None:
  """The figures as tables for a person."""
  people = rich.table.Table("annotator", "answers", "controls right", "seconds", title="annotators")
  for name, own in report["annotators"].items():
    right = f"{own['right']} of {own['controls']}" if own["controls"] else ""
    people.add_row(name, str(own["answers"]), right, "" if own["seconds"] is None else f"{own['seconds']:g}")
  agreeing = rich.table.Table("page", "settled", "alpha", "judge", "agrees", title="agreement")
  for one in report["sheets"]:
    agreeing.add_row(one["sheet"], f"{one['settled']} of {one['items']}", _number(one["alpha"]))
    for name, own in one["judges"].items():
      figure = own.get("same") or own.get("spearman")
      agreeing.add_row("", "", "", name, "no verdict" if figure is None else _interval(figure))
  shown = [people, agreeing]
  if report["strengths"]:
    shown.append(rich.table.Table("system", "strength", "wins", "comparisons", title="Bradley-Terry"))
    for one in report["strengths"]:
      shown[-1].add_row(one["name"], _interval(one), f"{one['wins']:g}", str(one["games"]))
  console.show(*shown)


def _interval(figure: Mapping[str, Any]) -> str:
  low, high = figure["low"], figure["high"]
  return _number(figure["value"]) + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")


def _number(value: float | None) -> str:
  return "" if value is None else f"{value:.3f}"
