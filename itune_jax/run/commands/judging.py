"""Who judges, from flags; and annotations that were made elsewhere."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import nearest
from itune_jax.core import tomltext
from itune_jax.evals import annotated
from itune_jax.evals import judged
from itune_jax.run import command
from itune_jax.run import results
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import budget
from itune_jax.sampling.responders import http
from itune_jax.sampling.responders import journal

BASELINE = os.path.join("alpaca_eval", "gpt4_1106_preview_outputs.json")
JOURNAL = "judge.jsonl"
HUB = os.path.join("alpaca_eval", "df_gamed.csv")


def judge(args: command.Args) -> judged.Judge | None:
  """The judge of the flags; None where none is named. Raises InputError where its key is not in the environment, and
  for a file that is no panel."""
  if not args.judge:
    return None
  spent = budget.Budget(requests=args.judge_requests, tokens=args.judge_tokens)
  kept = args.judge_journal or (os.path.join(args.out, JOURNAL) if args.out else "")
  if args.judge.endswith(".toml"):
    first, *others = _panel(args, spent, kept)
    return dataclasses.replace(first, prompt=args.judge_prompt, panel=tuple(others))
  one = {"url": "" if args.judge == "self" else args.judge, "model": args.judge_model, "key_env": args.judge_key_env}
  one |= {"name": args.judge_name, "by": args.judge_by or "text", "adapter": args.judge_adapter}
  one |= {"temperature": args.judge_temperature, "repeats": args.judge_repeats or 1}
  return dataclasses.replace(_member(one, args, spent, kept), prompt=args.judge_prompt)


_MEMBER: dict[str, type] = {
  "url": str,
  "model": str,
  "key_env": str,
  "name": str,
  "by": str,
  "adapter": str,
  "temperature": float,
  "repeats": int,
}


def _panel(args: command.Args, spent: budget.Budget, kept: str) -> list[judged.Judge]:
  """The judges of a file. Raises InputError naming file, judge and key for what is no panel."""
  path = args.judge
  given = tomltext.read(path)
  members = given.pop("judge", None)
  check.require(not given, f"{path}: {next(iter(given), '')} is no part of a panel: it holds [[judge]] alone")
  check.require(
    isinstance(members, list) and len(members) > 1 and all(isinstance(one, dict) for one in members),
    f"{path}: a panel is two judges or more, each under [[judge]]",
  )
  found = []
  for k, one in enumerate(members):
    try:
      _check_member(one, args)
      found.append(_member({"name": one.get("model", ""), **one}, args, spent, _numbered(kept, k)))
    except errors.InputError as e:
      raise errors.InputError(f"{path}, judge {k + 1}: {e}") from None
  names = [one.name or f"judge {k}" for k, one in enumerate(found, 1)]
  check.require(len(set(names)) == len(names), f"{path}: two judges are called the same; give each a name")
  return found


def _check_member(one: Mapping[str, Any], args: command.Args) -> None:
  for name, value in one.items():
    check.require(name in _MEMBER, f"no key is called {jsontext.shown(name)}{nearest.meant(name, _MEMBER)}")
    kind = _MEMBER[name]
    check.require(check.fits(value, kind), f"{name} is {check.say(kind)}, not {jsontext.shown(value)}")
  check.require(bool(one.get("url")) == bool(one.get("model")), "an endpoint has a url and a model")
  check.require(not (one.get("url") and one.get("adapter")), "an endpoint knows no adapter")
  scored = one.get("url") and one.get("by") == "scores"
  check.require(not scored, "by = 'scores' is of the model on the mesh: an endpoint scores no given text")
  check.require(
    one.get("url") or not args.responses, "it has no url, and stored answers have no model that could judge"
  )


def _member(one: Mapping[str, Any], args: command.Args, spent: budget.Budget, kept: str) -> judged.Judge:
  """One judge: an endpoint, or who is evaluated where it has no url."""
  own: dict[str, Any] = {name: one[name] for name in ("name", "by", "temperature", "repeats") if name in one}
  responder = _endpoint(one, args, spent, kept) if one.get("url") else None
  return judged.Judge(responder=responder, adapter=one.get("adapter") or None, **own)


def _numbered(path: str, k: int) -> str:
  """The file of a judge of several, each of which has its own."""
  stem, ending = os.path.splitext(path)
  return f"{stem}-{k + 1}{ending}" if path and k else path


def _endpoint(one: Mapping[str, Any], args: command.Args, spent: budget.Budget, kept: str) -> requests_lib.Responder:
  variable = one.get("key_env", "")
  key = os.environ.get(variable, "") if variable else ""
  check.require(key or not variable, f"--judge_key_env: the environment has no {variable}")
  found = http.HttpResponder(
    url=one["url"], model=one["model"], key=key, at_a_time=args.judge_at_a_time or 8, budget=spent, failed="answer"
  )
  return journal.Journal(found, kept) if kept else found


def annotations(args: command.Args, responses: str, roots: tuple[str, ...]) -> dict[str, Any]:
  """Win rates of annotations; the baseline's outputs and AlpacaEval's difficulties are looked for among the data.

  Outputs of the baseline that were found, not named, are used where they are those of the annotations.

  Raises InputError as `annotated.read` does, and without annotations that fit.
  """
  found = args.baseline or _among(roots, BASELINE)
  try:
    read = annotated.read(args.annotations, responses=responses, baseline=found)
  except errors.InputError:
    if args.baseline or not found:
      raise
    read = annotated.read(args.annotations, responses=responses)
  path = args.difficulty or _among(roots, HUB)
  figures = annotated.measure(read, annotated.hub(path) if path else None)
  if args.run_dir:
    results.write(args.run_dir, args.name, "alpaca_eval", annotated.result(read, figures))
  return figures


def _among(roots: tuple[str, ...], name: str) -> str:
  """The file of a name below the first root that has it, "" where none has."""
  return next((path for root in roots if os.path.exists(path := os.path.join(root, name))), "")
