"""Numbers of learning from preferences, each by one command; the last line of stdout is a JSON object.

python scripts/bench_preference.py ours --data pairs.jsonl        # pairs a second and memory of DPO with LoRA
python scripts/bench_preference.py trl --data pairs.jsonl         # the same of TRL's trainer, in a process of its own
python scripts/bench_preference.py beside --data pairs.jsonl      # both in turn, and the ratios
python scripts/bench_preference.py reference --data pairs.jsonl   # DPO by adapters off beside SFT on equal tokens
python scripts/bench_preference.py trunk --data pairs.jsonl       # a prompt once beside a prompt repeated
python scripts/bench_preference.py demo --adapter runs/demo       # DPO against what the adapter gets wrong
python scripts/bench_preference.py reward --adapter runs/demo     # reward models, and the best of eight answers
"""

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import bench_lib
import jax
import numpy as np

from itune_jax.core import conversation
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import pair_groups
from itune_jax.evals import generation
from itune_jax.evals import items as items_lib
from itune_jax.grading import checkers
from itune_jax.grading.statistics import metrics
from itune_jax.objectives import sft
from itune_jax.objectives.preference import dpo
from itune_jax.models import decoder
from itune_jax.nn import stack
from itune_jax.optim import adamw
from itune_jax.optim import schedule
from itune_jax.peft.methods import lora
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run import views
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib

LORA = lora.Lora(rank=16, alpha=32.0)
RATE = schedule.Schedule(rate=1e-4, kind="constant", warmup=0.0)


def _groups(args: argparse.Namespace, session: session_lib.Session) -> list[pack.Group]:
  """The pairs of the file, rendered; rows that are none are left out."""
  renderer, found = session.renderer(chat.Rendering(max_length=args.max_length)), []
  for row in readers.read(args.data, "preference"):
    try:
      if row.example is not None:
        found.append(pair_groups.render(renderer, dataclasses.replace(row.example, margin=None))[0])
    except example_lib.BadRow:
      continue
  return found


def _batches(groups: list[pack.Group], args: argparse.Namespace, repeat: bool = False) -> list[tuple[Any, int]]:
  """(batch of one micro-batch, its pairs) of so many pairs each, rows as long as the fullest wants."""
  found, endless = [], itertools.cycle(groups)
  for _ in range(args.steps + bench_lib.WARMUP):
    taken = [next(endless) for _ in range(args.pairs)]
    taken = [one.repeated() for one in taken] if repeat else taken
    found.append(taken)
  length = max(-(-sum(one.positions for one in taken) // 64) * 64 for taken in found)
  fill = lambda taken: pack.fill([taken], length, columns=[pair_groups.SIDE], grouped=True, repeats=repeat or None)
  return [(jax.tree.map(lambda x: x[None], fill(taken)), len(taken)) for taken in found]


def _rows(groups: list[pack.Group], args: argparse.Namespace) -> list[tuple[Any, int]]:
  """(batch of one row, its pairs) of the pairs that TRL is timed on, packed into rows as the feed does."""
  endless = itertools.cycle(groups)
  taken = [next(endless) for _ in range(args.pairs * (args.steps + bench_lib.WARMUP))][args.pairs * bench_lib.WARMUP :]
  rows = pack.best_fit_decreasing([one.positions for one in taken], args.row_length)
  fill = lambda row: pack.fill([[taken[i] for i in row]], args.row_length, columns=[pair_groups.SIDE], grouped=True)
  return [(jax.tree.map(lambda x: x[None], fill(row)), len(row)) for row in rows]


class _Step:
  """A compiled step of LoRA with its state."""

  def __init__(self, session: session_lib.Session, objective: Any, remat: Any):
    others, arrays = views.make(objective, {}, session_lib.beside(session, remat), False)
    transform, rate = adamw.AdamW(schedule=RATE).make(10, session.trainable)
    self._state = state_lib.create(session.trainable, transform, 0, session.mesh)
    where = {n: v.sharding for n, v in self._state.trainable.items()}
    self._frozen = {**session.frozen, **arrays}
    self._step = step_lib.make_step(session.binder, objective, transform, rate, where, None, others)

  def __call__(self, batch: Any) -> float:
    self._state, metrics = self._step(self._state, self._frozen, batch)
    return float(metrics["loss"])


def _session(args: argparse.Namespace) -> tuple[session_lib.Session, Any]:
  remat = stack.Remat(policy=args.remat)
  return session_lib.open_session(specs.Model(base=args.model), (LORA,), remat=remat), remat


def ours(args: argparse.Namespace) -> dict[str, Any]:
  """Pairs a second of DPO by adapters off, in packed rows, behind two warm-up steps."""
  session, remat = _session(args)
  rows, step = _rows(_groups(args, session), args), _Step(session, dpo.Dpo(), remat)
  losses = [step(rows[0][0]) for _ in range(bench_lib.WARMUP)]
  start = time.perf_counter()
  losses += [step(batch) for batch, _ in rows]
  seconds, pairs = time.perf_counter() - start, sum(n for _, n in rows)
  return {
    "pairs_per_s": pairs / seconds,
    "rows": len(rows),
    "first_loss": losses[0],
    "peak_rss_gib": bench_lib.peak_rss_gib(),
  }


_TRL = """
import json, resource, sys, time
import datasets, peft, torch, transformers, trl
folder, data, pairs, steps, length = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
rows = [json.loads(line) for line in open(data) if line.strip()]
keep = [{k: r[k] for k in ("prompt", "chosen", "rejected")} for r in rows if r.get("chosen") != r.get("rejected")]
said = lambda text: [{"role": "assistant", "content": text}]
asked = lambda text: [{"role": "user", "content": text}]
chat = lambda r: {"prompt": asked(r["prompt"]), "chosen": said(r["chosen"]), "rejected": said(r["rejected"])}
wanted = pairs * (steps + 2)
rows = [chat(keep[i % len(keep)]) for i in range(wanted)]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
how = dict(per_device_train_batch_size=pairs, max_steps=steps + 2, max_length=length, learning_rate=1e-4)
quiet = dict(report_to=[], logging_steps=1, save_strategy="no", use_cpu=True, bf16=False, gradient_checkpointing=False)
config = trl.DPOConfig(output_dir="/tmp/trl_dpo", **how, **quiet)
lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
times = []
class Clock(transformers.TrainerCallback):
  def on_step_end(self, *a, **k): times.append(time.perf_counter())
given = dict(train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora)
trainer = trl.DPOTrainer(model=model, args=config, callbacks=[Clock()], **given)
trainer.train()
rate = pairs * (len(times) - 2) / (times[-1] - times[1])
print(json.dumps({"pairs_per_s": rate, "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))
"""


def trl(args: argparse.Namespace) -> dict[str, Any]:
  """The same of TRL's DPOTrainer with peft's LoRA; the base is exported for it first."""
  with tempfile.TemporaryDirectory() as folder:
    base = os.path.join(folder, "base")
    bench_lib.itune("export", f"--gin.specs.Model.base='{args.model}'", f"--out={base}")
    numbers = [str(n) for n in (args.pairs, args.steps, args.max_length)]
    command = [sys.executable, "-c", _TRL, base, args.data, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    raise SystemExit(f"TRL: {done.stderr.strip().splitlines()[-1]}")
  return json.loads(done.stdout.strip().splitlines()[-1])


def beside(args: argparse.Namespace) -> dict[str, Any]:
  """Both in processes of their own, in turn."""
  found: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
  for _ in range(args.turns):
    for name in found:
      flags = ["--data", args.data, "--pairs", str(args.pairs), "--steps", str(args.steps)]
      command = [sys.executable, __file__, name, *flags, "--max_length", str(args.max_length), "--model", args.model]
      done = subprocess.run(command, capture_output=True, text=True, check=True)
      found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
  median = lambda name, what: float(np.median([one[what] for one in found[name]]))
  return {
    **found,
    "speed_ratio": median("ours", "pairs_per_s") / median("trl", "pairs_per_s"),
    "memory_ratio": median("ours", "peak_rss_gib") / median("trl", "peak_rss_gib"),
  }


def reference(args: argparse.Namespace) -> dict[str, Any]:
  """A step of DPO by adapters off beside one of SFT on the same rows, in turn."""
  session, remat = _session(args)
  batch, _ = _batches(_groups(args, session), args)[0]
  steps = {"sft": _Step(session, sft.Sft(), remat), "dpo": _Step(session, dpo.Dpo(), remat)}
  systems = {name: (lambda step=step: step(batch)) for name, step in steps.items()}
  _, seconds = bench_lib.in_turn(systems, args.steps, settled=True)
  ratio = [b / a for a, b in zip(seconds["sft"][1:], seconds["dpo"][1:], strict=True)]
  return {**{f"{n}_s": bench_lib.spread(s[1:]) for n, s in seconds.items()}, "dpo_over_sft": bench_lib.spread(ratio)}


def trunk(args: argparse.Namespace) -> dict[str, Any]:
  """DPO with each prompt once beside DPO with prompts repeated, of the same pairs, in turn."""
  session, remat = _session(args)
  groups = _groups(args, session)
  step = _Step(session, dpo.Dpo(), remat)
  given = {name: _batches(groups, args, repeat)[0][0] for name, repeat in (("once", False), ("twice", True))}
  systems = {name: (lambda batch=batch: step(batch)) for name, batch in given.items()}
  _, seconds = bench_lib.in_turn(systems, args.steps, settled=True)
  ratio = [b / a for a, b in zip(seconds["once"][1:], seconds["twice"][1:], strict=True)]
  positions = {f"{name}_positions": int((batch.segments_BT != 0).sum()) for name, batch in given.items()}
  return {**positions, "twice_over_once": bench_lib.spread(ratio)}


def _tiny() -> Any:
  return decoder.DecoderConfig(
    vocab=49_152, width=64, depth=2, heads=8, kv_heads=4, head_dim=8, mlp=128, max_length=512, tied=True
  )


def demo(args: argparse.Namespace) -> dict[str, Any]:
  """From an adapter of `itune demo`: pairs of the starter set's right answers against what the adapter gets wrong; DPO
  on them, held-out accuracy before and behind it, exact match beside it, and both differences with intervals."""
  out, found = args.out or tempfile.mkdtemp(), {}
  began = time.perf_counter()
  kept = lambda name: [f"--run_dir={out}/evals", f"--name={name}", "--overwrite"]
  made = {split: _wrong_answers(args, split, out) for split in ("train", "heldout")}
  found["pairs"] = {split: len(list(readers.read(file, "preference"))) for split, file in made.items()}
  pairs = ["--gin_file=recipes/preference.gin", f"--base={args.model}", f"--data={made['train']}"]
  evals = ["--gin_file=evals/preferred.gin", f"--gin.EVAL_DATA='{made['heldout']}'"]
  evals += ["--gin.preferred.Preferred.by='likelihood'"]
  start = [f"--gin.WARM_START='{args.adapter}'", f"--gin.schedule.Schedule.rate={args.rate}"]
  starter = ["--gin_file=recipes/demo.gin", f"--gin.EVAL_STRIDE={args.stride}"]
  bench_lib.itune("prepare", *pairs)
  adapters = {"before": args.adapter, "behind": f"{out}/dpo"}
  for name, adapter in adapters.items():
    if name == "behind":
      bench_lib.itune("train", *pairs, *start, f"--steps={args.steps}", f"--run_dir={out}/dpo")
    bench_lib.itune("eval", *pairs, *evals, f"--adapter={adapter}", *kept(name))
    bench_lib.itune("eval", *starter, f"--adapter={adapter}", *kept(f"match_{name}"))
  for kind in ("", "match_"):
    runs = {name: f"{out}/evals/evals/{kind}{name}" for name in adapters}
    found[f"{kind}paired"] = bench_lib.compared(runs, f"{out}/{kind}dpo.html")
  return {**found, "minutes": round((time.perf_counter() - began) / 60, 1), "out": out}


def reward(args: argparse.Namespace) -> dict[str, Any]:
  """Reward models: of the pairs of `demo`, asked for held-out ones and for the best of eight answers; and of the pairs
  of --data, of which a fifth is held out."""
  out, found = args.out or tempfile.mkdtemp(), {}
  made = {split: _wrong_answers(args, split, out) for split in ("train", "heldout")}
  found["reward"] = _rewarded(args, made["train"], made["heldout"], f"{out}/reward")
  if args.data:
    found["reward_on_data"] = _rewarded(args, *_fifths(args.data, out), f"{out}/reward_data")
  return {**found, **_best_of(args, f"{out}/reward", f"{out}/lists.jsonl"), "out": out}


def _wrong_answers(args: argparse.Namespace, split: str, out: str) -> str:
  """A file of pairs: right answers of a split of the starter set against the wrong ones that the adapter says
  greedily."""
  flags = [f"--base={args.model}", f"--adapter={args.adapter}", f"--data=starter:{split}", f"--out={out}/{split}"]
  greedy = [f"--gin.verified_pairs.VerifiedPairs.{name}" for name in ("samples=1", "temperature=0.0", "limit=64")]
  bench_lib.itune("synth", "--gin_file=synth/verified_pairs.gin", *flags, *greedy)
  return f"{out}/{split}/rows.jsonl"


def _fifths(data: str, out: str) -> tuple[str, str]:
  """The rows of a file in two: every fifth is kept back."""
  with open(data, encoding="utf-8") as f:
    rows = [line for line in f if line.strip()]
  files = os.path.join(out, "data_train.jsonl"), os.path.join(out, "data_heldout.jsonl")
  for file, kept in zip(files, ([i for i in range(len(rows)) if i % 5], range(0, len(rows), 5)), strict=True):
    with open(file, "w", encoding="utf-8") as f:
      f.writelines(rows[i] for i in kept)
  return files


def _rewarded(args: argparse.Namespace, train: str, heldout: str, run_dir: str) -> dict[str, Any]:
  """What a reward model that learned one file says of another."""
  how = ["--gin_file=recipes/reward.gin", f"--base={args.model}", f"--data={train}"]
  bench_lib.itune("prepare", *how)
  bench_lib.itune("train", *how, f"--steps={args.reward_steps}", f"--run_dir={run_dir}")
  return bench_lib.itune("reward", f"--adapter={run_dir}", f"--data={heldout}")


def _best_of(args: argparse.Namespace, reward: str, lists: str, count: int = 8) -> dict[str, Any]:
  """Exact match on held-out questions of the adapter's greedy answers, of those that it draws, and of the one of them
  that the reward model scores highest."""
  source = mixture_lib.Source(name="starter_heldout", path="starter:heldout", stride=args.stride)
  items = list(generation.Generation(items=items_lib.Items(source=source)).benchmark.items())
  session = session_lib.open_session(specs.Model(base=args.model), adapter=args.adapter)
  decode = decode_lib.Decode(max_new_tokens=64, batch=32)
  responder = session.responder(session.renderer(chat.Rendering()), decode)
  how = lambda item, **more: requests_lib.Request(conversation=conversation.of(item.question), id=item.id, **more)
  said = {n: responder.answer([how(item, n=n, temperature=float(n > 1)) for item in items]) for n in (1, count)}
  right = lambda item, sample: float(checkers.judge(sample.text, item.shown["check"], ()))
  worth = {
    n: [[right(item, one) for one in answer.samples] for item, answer in zip(items, answers, strict=True)]
    for n, answers in said.items()
  }
  del session, responder
  with open(lists, "w", encoding="utf-8") as f:
    for item, answer, scores in zip(items, said[count], worth[count], strict=True):
      texts = [sample.text.strip() or "(nothing)" for sample in answer.samples]
      asked = [dict(one) for one in conversation.of(item.question).messages]
      f.write(json.dumps({"id": item.id, "prompt": asked, "responses": texts, "scores": scores}) + "\n")
  bench_lib.itune("reward", f"--adapter={reward}", f"--data={lists}", f"--out={lists}.scored", f"--best_of={count}")
  with open(f"{lists}.scored", encoding="utf-8") as f:
    rewards = {int(row["where"].rpartition(":")[2]): row["rewards"] for row in map(json.loads, f)}  # by line
  chosen = [
    scores[int(np.argmax(rewards[line]))] if line in rewards else float(np.mean(scores))  # all are worth the same
    for line, scores in enumerate(worth[count], 1)
  ]
  clusters = [item.cluster or item.id for item in items]
  paired = metrics.Mean().paired([one[0] for one in worth[1]], chosen, clusters)
  figures = {"greedy": np.mean([one[0] for one in worth[1]]), "drawn": np.mean(worth[count]), "best": np.mean(chosen)}
  figures |= {"oracle": np.mean([max(one) for one in worth[count]])}
  told = {name: round(float(value), 4) for name, value in figures.items()}
  return {f"best_of_{count}": {**told, "best_minus_greedy": paired.figure._asdict(), "p": paired.p, "of": len(items)}}


JOBS = {one.__name__: one for one in (ours, trl, beside, reference, trunk, demo, reward)}


def main() -> None:
  """Runs one job and prints its figures."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("job", choices=JOBS)
  parser.add_argument("--data", default="", metavar="FILE", help="pairs (prompt, chosen, rejected), or rows")
  parser.add_argument("--model", default="smollm2-135m-instruct", help="the base")
  parser.add_argument("--adapter", default="", help="demo, reward: a tuned adapter")
  parser.add_argument(
    "--pairs", type=int, default=2, help="of a step of TRL; ours packs as many pairs as that are into rows"
  )
  parser.add_argument("--row_length", type=int, default=2048, help="ours, beside: positions of a packed row")
  parser.add_argument("--steps", type=int, default=6, help="that are timed, or trained")
  parser.add_argument("--turns", type=int, default=1, help="beside: how often both run")
  parser.add_argument("--max_length", type=int, default=512, help="tokens of an answer with its prompt")
  parser.add_argument("--stride", type=int, default=1, help="demo, reward: every so many of the held-out questions")
  parser.add_argument("--rate", type=float, default=1e-4, help="demo: of DPO's steps (default: 1e-4)")
  parser.add_argument("--reward_steps", type=int, default=100, help="reward: of each model (default: 100)")
  parser.add_argument("--remat", default="none", help="what the backward pass finds saved")
  parser.add_argument("--out", default="", help="demo, reward: where runs go")
  args = parser.parse_args()
  print(json.dumps(JOBS[args.job](args)), flush=True)


if __name__ == "__main__":
  main()
