"""Who judges, from flags; and annotations that were made elsewhere."""

import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
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
  """The judge of the flags; None where none is named. Raises InputError where its key is not in the environment."""
  if not args.judge:
    return None
  responder = None if args.judge == "self" else _endpoint(args)
  adapter, by = args.judge_adapter or None, args.judge_by or "text"
  return judged.Judge(responder=responder, name=args.judge_name, prompt=args.judge_prompt, by=by, adapter=adapter)


def _endpoint(args: command.Args) -> requests_lib.Responder:
  key = os.environ.get(args.judge_key_env, "") if args.judge_key_env else ""
  check.require(key or not args.judge_key_env, f"--judge_key_env: the environment has no {args.judge_key_env}")
  found = http.HttpResponder(
    url=args.judge,
    model=args.judge_model,
    key=key,
    at_a_time=args.judge_at_a_time or 8,
    budget=budget.Budget(requests=args.judge_requests, tokens=args.judge_tokens),
    failed="answer",
  )
  path = args.judge_journal or (os.path.join(args.out, JOURNAL) if args.out else "")
  return journal.Journal(found, path) if path else found


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
