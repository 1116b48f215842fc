"""The job `lm_eval` of `bench.py`: lm-evaluation-harness on a model here beside its own Hugging Face backend.

Both get the same requests through lm-eval's own interface (`LM.loglikelihood`, `LM.generate_until`), in turn.
"""

import importlib
import json
import sys
from typing import Any

import bench_lib
import jax
import numpy as np

from itune_jax.core import lazy
from itune_jax.run import session as session_lib
from itune_jax.run import specs

bridge = lazy.module("itune_jax.evals.lm_eval_bridge")
ours_of = lazy.module("itune_jax.run.lm_eval_model")
instance = lazy.module("lm_eval.api.instance")
harness = lazy.module("lm_eval")
managers = lazy.module("lm_eval.tasks")

UNTIL = {"until": ["\n\n"], "do_sample": False}


def lm_eval(args) -> dict[str, Any]:
  """Choices and answers, in turn; with --include_path the figures of all tasks of a folder by both."""
  models = {"ours": _ours(args), "lm_eval": _theirs(args)}
  figures: dict[str, Any] = {}
  if args.data:
    pairs = _choices(args)
    requests = [instance.Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    figures["choices"] = {"continuations": len(pairs)} | _timed(args, models, "loglikelihood", requests, _nats)
  if args.prompts:
    asked = [(text, {**UNTIL, "max_gen_toks": args.new}) for text in _prompts(args)]
    requests = [instance.Instance("generate_until", {}, one, i) for i, one in enumerate(asked)]
    figures["generation"] = {"prompts": len(asked)} | _timed(args, models, "generate_until", requests, _texts)
  if args.tasks:
    figures["tasks"] = _tasks(args, models)
  return {**figures, "peak_rss_gib": bench_lib.peak_rss_gib()}


def _ours(args):
  session = session_lib.open_session(specs.Model(base=args.hf), precision=bench_lib.precision(args))
  return bridge.BridgeLM(ours_of.asked_of(session), bridge.Settings(batch_size=args.batch))


def _theirs(args):
  huggingface = importlib.import_module("lm_eval.models.huggingface")
  device = "cuda" if jax.default_backend() == "gpu" else "cpu"
  return huggingface.HFLM(pretrained=args.hf, dtype=args.dtype, device=device, batch_size=args.batch)


def _choices(args) -> list[tuple[str, str]]:
  with open(args.data, encoding="utf-8") as f:
    rows = [json.loads(line) for line in f if line.strip()][: args.rows]
  return [(f"Question: {row['question']}\nAnswer:", f" {choice}") for row in rows for choice in row["choices"]]


def _prompts(args) -> list[str]:
  with open(args.prompts, encoding="utf-8") as f:
    return [f"Question: {json.loads(line)['prompt']}\nAnswer:" for line in f if line.strip()][: args.rows]


def _timed(args, models, method: str, requests, compare) -> dict[str, Any]:
  """Seconds of both, their ratio turn by turn, and how far their answers are apart."""
  systems = {name: lambda lm=lm: getattr(lm, method)(requests, disable_tqdm=True) for name, lm in models.items()}
  found, seconds = bench_lib.in_turn(systems, args.turns)
  both = zip(seconds["ours"][1:], seconds["lm_eval"][1:], strict=True)
  figures = {f"{name}_s": bench_lib.spread(times[1:]) for name, times in seconds.items()}
  figures |= {"first_s": round(seconds["ours"][0], 1), "ours_over_lm_eval": bench_lib.spread([a / b for a, b in both])}
  return figures | compare(found["ours"], found["lm_eval"])


def _nats(ours, theirs) -> dict[str, Any]:
  apart = [abs(a - b) for (a, _), (b, _) in zip(ours, theirs, strict=True)]
  greedy = sum(a != b for (_, a), (_, b) in zip(ours, theirs, strict=True))
  return {"largest_difference": float(np.max(apart)), "greedy_differs": greedy}


def _texts(ours, theirs) -> dict[str, Any]:
  return {"texts_differ": sum(a != b for a, b in zip(ours, theirs, strict=True)), "characters": sum(map(len, ours))}


def _tasks(args, models) -> dict[str, Any]:
  """Every figure of each task by both, as [ours, theirs]."""
  names: list[str] = args.tasks.split(",")
  figures: dict[str, Any] = {}
  manager = managers.TaskManager(include_path=args.include_path, include_defaults=False)
  for chat in (False, True) if args.chat else (False,):
    how = {"apply_chat_template": chat, "fewshot_as_multiturn": chat, "task_manager": manager, "bootstrap_iters": 0}
    found = {name: harness.simple_evaluate(model=lm, tasks=names, **how)["results"] for name, lm in models.items()}
    for task in names:
      keys = [key for key in found["ours"][task] if "," in key and "_stderr" not in key]
      of = {key: [float(found[name][task][key]) for name in models] for key in keys}
      figures[f"{task} (chat)" if chat else task] = of
      print(task, "as a chat" if chat else "", of, file=sys.stderr)
  return figures


JOBS = {"lm_eval": lm_eval}


def add(jobs: Any) -> None:
  """The flags of the job."""
  one = jobs.add_parser("lm_eval", help="lm-evaluation-harness on a model here beside its Hugging Face backend")
  one.add_argument("--hf", required=True, metavar="FOLDER", help="the model, for both")
  one.add_argument("--data", default="", help="JSON lines with `question` and `choices`: log-likelihoods")
  one.add_argument("--prompts", default="", help="JSON lines with `prompt`: answers")
  one.add_argument("--rows", type=int, default=64, help="of either file (default: 64)")
  one.add_argument("--new", type=int, default=64, help="tokens of an answer at most (default: 64)")
  one.add_argument("--include_path", default="", metavar="FOLDER", help="of lm-eval's tasks")
  one.add_argument("--tasks", default="", help="of that folder, with commas: their figures by both")
  one.add_argument("--chat", action="store_true", help="the tasks as conversations too")
  one.add_argument("--batch", type=int, default=32, help="of both (default: 32)")
  one.add_argument("--turns", type=int, default=3)
