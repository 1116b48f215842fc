"""Times jobs on one machine; the last line printed is JSON.

    bench.py sft|methods|generate|score|choices        the main jobs, beside a peer in turn where --hf names its model
    bench.py samples                                   samples of few prompts beside as many prompts
    bench.py matmuls|scaling|devices|attention|groups|compile|loader    what a step costs and why
    bench.py lm_eval                                   lm-evaluation-harness here beside its own backend
    bench.py suite                                     published benchmarks beside what their tokens must cost
    bench.py formats                                   compile time of one format of a prompt beside that of many
    bench.py select_scores                             IFD, PVI and LESS beside the published loops in torch
    bench.py compare                                   any programs beside each other

The job `sft`: LoRA r=16 alpha=32 on all seven projections, AdamW at 1e-4, examples of at most 512 tokens, 2,048
positions an optimizer step, rows of the file in order, loss on answers only. The first two steps are not counted.
The figure is trained (answer) tokens a second: padding and prompts earn nothing. Programs are compiled anew
(no persistent cache), so `first_step_s` is the compile time that a new user sees.
"""

import argparse
import dataclasses
import importlib
import json
import sys
import time

import bench_costs
import bench_formats
import bench_lib
import bench_lm_eval
import bench_scores
import bench_suite
import jax
import numpy as np

from itune_jax import api
from itune_jax.data.render import chat
from itune_jax.data.readers import readers
from itune_jax.peft.methods import boft
from itune_jax.peft.methods import delora
from itune_jax.peft.methods import hira
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import miss
from itune_jax.peft.methods import oft
from itune_jax.run import memory
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.sampling.decode import decode as decode_lib


def sft(args) -> dict:
  """The job `sft`."""
  one = bench_lib.ready(args, lora.Lora(rank=16, alpha=32.0, dora=args.dora), args.steps)
  packed = bench_lib.packed(args, one.session, args.steps)
  ends, losses = [time.perf_counter()], []
  for rows in packed:
    losses.append(one(bench_lib.batch_of(rows)))
    ends.append(time.perf_counter())
    print(f"step {len(losses)}/{len(packed)} loss {losses[-1]:.3f} {ends[-1] - ends[-2]:.1f} s", file=sys.stderr)
  counted = [members for rows in packed[bench_lib.WARMUP :] for members in rows]
  trained = sum(int((weights[1:] != 0).sum()) for members in counted for _, weights in members)
  used = sum(len(ids) - 1 for members in counted for ids, _ in members)
  seconds, rows = ends[-1] - ends[bench_lib.WARMUP], sum(map(len, counted))
  return {
    "trained_tokens_per_s": round(trained / seconds, 2),
    "rows_per_s": round(rows / seconds, 3),
    "seconds": round(seconds, 2),
    "trained_tokens": trained,
    "rows": rows,
    "first_step_s": round(ends[1] - ends[0], 1),
    "peak_rss_gib": bench_lib.peak_rss_gib(),
    **bench_lib.on_accelerator(one.session, used / seconds),
    "positions_per_s": round(used / seconds, 1),
    "padding_share": round(1 - used / (len(counted) * bench_lib.POSITIONS), 4),
    "first_loss": losses[0],
    "last_loss": losses[-1],
  }


# About as many trained parameters each on the default base (LoRA r=16 on all projections: 4.9 million).
METHODS = {
  "lora": lora.Lora(rank=16, alpha=32.0),
  "dora": lora.Lora(rank=16, alpha=32.0, dora=True),
  "hira": hira.Hira(rank=16),
  "oft": oft.Oft(block_size=64),
  "boft": boft.Boft(block_size=16, factors=2),
  "miss": miss.Miss(rank=32),
  "delora": delora.Delora(rank=16),
}


def methods(args) -> dict:
  """The job `methods`: steps of several methods on one batch, taken in turn, so that a busy machine slows all alike."""
  names = [name for name in METHODS if not args.only or name in args.only]
  ready, batch = {}, None
  for name in names:
    ready[name] = bench_lib.ready(args, METHODS[name], args.steps)
    batch = bench_lib.batch_of(bench_lib.packed(args, ready[name].session, 1)[0]) if batch is None else batch
  systems = {name: lambda one=one: one(batch) for name, one in ready.items()}
  seconds = {name: times[1:] for name, times in bench_lib.in_turn(systems, args.steps, settled=True)[1].items()}
  # Pairs of one turn: what else the machine did is in both.
  over = lambda name: float(np.median([a / b for a, b in zip(seconds[name], seconds[names[0]], strict=True)]))
  return {
    name: {
      "step_s": round(float(np.median(seconds[name])), 3),
      f"over_{names[0]}": round(over(name), 3),
      "trained_parameters": ready[name].trained,
    }
    for name in names
  }


def generate(args) -> dict:
  """The job `generate`: greedy, 64 new tokens, batch 8, end tokens ignored; the figure is that of the fastest run.

  With --rows the prompts are taken over and over, and each of them is cut at a length of its own (8, 16, … 64), as ends
  of answers cut them: the figure counts the tokens up to there. With --hf, transformers on the same, in turn.
  Where texts differ from a peer's, or from those of prompts decoded one by one, so do two tokens that were nearly even.
  """
  session = session_lib.open_session(specs.Model(base=args.model), precision=bench_lib.precision(args))
  renderer = chat.Renderer(session.tokenizer)
  with open(args.prompts, encoding="utf-8") as f:
    texts = [json.loads(line)["prompt"] for line in f if line.strip()]
  texts = [texts[i % len(texts)] for i in range(args.rows or args.batch)]
  prompts = [renderer.prompt_ids([{"role": "user", "content": text}]) for text in texts]
  limits = [8 * (1 + i * 5 % 8) if args.rows else 64 for i in range(len(prompts))]
  decode = decode_lib.Decode(max_new_tokens=64, batch=args.batch)
  engine = dataclasses.replace(session.engine(), stop_ids=())
  systems = {"ours": lambda: [out.tokens for out in engine.generate(prompts, decode, limits=limits)]}
  if args.hf:
    systems["transformers"] = _transformers(args, prompts, limits)
  found, seconds = bench_lib.in_turn(systems, args.turns)
  figures: dict = {"rows": len(prompts), "new_tokens": sum(limits), "prompt_tokens": sum(map(len, prompts))}
  figures |= {name: bench_lib.spread([sum(limits) / t for t in times[1:]]) for name, times in seconds.items()}
  if args.hf:
    pairs = zip(seconds["ours"][1:], seconds["transformers"][1:], strict=True)
    figures["ours_over_transformers"] = bench_lib.spread([theirs / ours for ours, theirs in pairs])
    figures["differ"] = _differences(engine, prompts, found["ours"], found["transformers"])
  if args.alone:
    one = dataclasses.replace(decode, batch=1)
    alone = [out.tokens for out in engine.generate(prompts, one, limits=limits)]
    figures["differ_alone"] = _differences(engine, prompts, found["ours"], alone)
  figures |= {"new_tokens_per_s": figures["ours"]["max"], "first_call_s": round(seconds["ours"][0], 1)}
  return {**figures, "peak_rss_gib": bench_lib.peak_rss_gib()}


def samples(args) -> dict:
  """The job `samples`: several samples of each prompt, beside as many prompts that differ from the first token on, all
  of one length and in one batch; and what both hold on the device beside the weights, while the first texts end."""
  session = session_lib.open_session(specs.Model(base=args.model), precision=bench_lib.precision(args))
  many, held = args.prompts * args.n, {}
  engine = dataclasses.replace(session.engine(), stop_ids=())
  vocab, draw = session.base.cfg.vocab, np.random.RandomState(0)
  prompts = [[i, *draw.randint(0, vocab, args.length - 1).tolist()] for i in range(many)]
  decode = decode_lib.Decode(max_new_tokens=args.new, temperature=1.0, batch=many)
  asks = {
    "samples": [decode_lib.Ask(prompt=prompt, n=args.n) for prompt in prompts[: args.prompts]],
    "prompts": [decode_lib.Ask(prompt=prompt) for prompt in prompts],
  }
  engine.generate([prompts[0][:8]], dataclasses.replace(decode, max_new_tokens=1, batch=1))  # lays the weights out

  def system(name):
    before = bench_lib.live_bytes()

    def run():
      held[name] = 0
      note = lambda n: held.update({name: max(held[name], bench_lib.live_bytes() - before)})
      return [out.tokens for out in dataclasses.replace(engine, progress=note).generate(asks[name], decode)]

    return run

  found, seconds = bench_lib.in_turn({name: system(name) for name in asks}, args.turns)
  both = zip(seconds["samples"][1:], seconds["prompts"][1:], strict=True)
  return {
    **{f"{name}_s": bench_lib.spread(times[1:]) for name, times in seconds.items()},
    **{f"{name}_mib": round(size / 2**20, 1) for name, size in held.items()},
    "seconds_over": bench_lib.spread([a / b for a, b in both]),
    "bytes_over": round(held["samples"] / held["prompts"], 3),
    "distinct": len({tuple(tokens) for tokens in found["samples"]}),
    "peak_rss_gib": bench_lib.peak_rss_gib(),
  }


def _differences(engine, prompts, ours, theirs) -> dict:
  """Texts that differ, and how near to each other the two tokens were where they part: the logit of ours less that of
  theirs, at most."""
  pairs = []
  for prompt, a, b in zip(prompts, ours, theirs, strict=True):
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if at is not None:
      pairs += [([*prompt, *a[:at]], [token]) for token in (a[at], b[at])]
  scores = [one.logprob for one in engine.score(pairs)] if pairs else []
  margins = [abs(a - b) for a, b in zip(scores[::2], scores[1::2], strict=True)]
  return {"texts": len(margins), "largest_margin": round(max(margins, default=0.0), 6)}


def _transformers(args, prompts, limits):
  """transformers on the same ids and device, padded on the left, batch by batch in order of length; a batch goes on
  until its longest text is done, as `generate` does."""
  torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
  device, batch = _torch_device(), args.batch
  model = transformers.AutoModelForCausalLM.from_pretrained(args.hf, dtype=getattr(torch, args.dtype)).eval().to(device)
  model.generation_config.eos_token_id = None  # an end token is a token like all others, as it is to ours
  order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))

  def run():
    found: dict[int, list[int]] = {}
    for at in range(0, len(order), batch):
      members = order[at : at + batch]
      width, most = max(len(prompts[i]) for i in members), max(limits[i] for i in members)
      ids = torch.tensor([[0] * (width - len(prompts[i])) + list(prompts[i]) for i in members], device=device)
      seen = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in members], device=device)
      with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=seen, max_new_tokens=most, do_sample=False, pad_token_id=0)
      found |= {i: row[width : width + limits[i]].tolist() for i, row in zip(members, out, strict=True)}
    return [found[i] for i in range(len(prompts))]

  return run


def _torch_device() -> str:
  return "cuda" if jax.default_backend() == "gpu" else "cpu"


def score(args) -> dict:
  """Log-likelihood of every row's answer given its prompt."""
  session = session_lib.open_session(specs.Model(base=args.model), precision=bench_lib.precision(args))
  renderer = chat.Renderer(session.tokenizer)
  pairs = []
  for row in readers.read(args.data):
    if row.example is None:
      continue
    context, answer = renderer.prompt_ids(row.example.prompt), renderer.encode(row.example.answer)
    if answer and len(context) + len(answer) <= 1024:
      pairs.append((context, answer))
  pairs, engine = pairs[: args.rows], session.engine()
  engine.score(pairs)
  start = time.perf_counter()
  scores = engine.score(pairs)
  seconds = time.perf_counter() - start
  scored = sum(s.tokens for s in scores)
  return {
    "scored_tokens_per_s": round(scored / seconds, 2),
    "rows_per_s": round(len(pairs) / seconds, 3),
    "seconds": round(seconds, 2),
    "rows": len(pairs),
    "scored_tokens": scored,
    "positions": sum(len(c) + len(a) - 1 for c, a in pairs),
    "nll_per_token": -sum(s.logprob for s in scores) / scored,
    "peak_rss_gib": bench_lib.peak_rss_gib(),
  }


def choices(args) -> dict:
  """Every choice's log-likelihood behind its question; with --hf by lm-eval's HF backend too, in turn."""
  with open(args.data, encoding="utf-8") as f:
    rows = [json.loads(line) for line in f if line.strip()]
  model = api.load(args.model, dtype=args.dtype)
  several = lambda row: all(len(model.session.tokenizer.encode(" " + str(c))) > 1 for c in row["choices"])
  rows = [row for row in rows if several(row)][: args.rows]
  pairs = [(f"Question: {row['question']}\nAnswer:", f" {choice}") for row in rows for choice in row["choices"]]
  systems = {"ours": lambda: [lp for lp, _ in model.loglikelihood(pairs)]}
  if args.hf:
    systems["lm_eval"] = _lm_eval(args, pairs)
  found, seconds = bench_lib.in_turn(systems, args.turns)
  figures: dict = {"contexts": len(rows), "continuations": len(pairs)}
  figures |= {f"{name}_s": bench_lib.spread(times[1:]) for name, times in seconds.items()}
  if args.hf:
    both = zip(seconds["ours"][1:], seconds["lm_eval"][1:], strict=True)
    figures["ours_over_lm_eval"] = bench_lib.spread([ours / theirs for ours, theirs in both])
    figures["largest_difference"] = float(np.max(np.abs(np.subtract(found["ours"], found["lm_eval"]))))
  return {**figures, "peak_rss_gib": bench_lib.peak_rss_gib()}


def _lm_eval(args, pairs):
  """lm-evaluation-harness on a Hugging Face folder, on the same device (in the parity environment)."""
  huggingface = importlib.import_module("lm_eval.models.huggingface")
  instance = importlib.import_module("lm_eval.api.instance")
  device = _torch_device()
  model = huggingface.HFLM(pretrained=args.hf, dtype=args.dtype, device=device, batch_size=args.batch)
  requests = [instance.Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
  return lambda: [lp for lp, _ in model.loglikelihood(requests, disable_tqdm=True)]


JOBS = {
  "sft": sft,
  "methods": methods,
  "generate": generate,
  "samples": samples,
  "score": score,
  "choices": choices,
  **bench_costs.JOBS,
  **bench_lm_eval.JOBS,
  **bench_scores.JOBS,
  **bench_suite.JOBS,
  **bench_formats.JOBS,
}


def main() -> None:
  """Parses flags, runs one job, prints its line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="smollm2-135m-instruct", help="as for the itune commands")
  parser.add_argument(
    "--dtype", default="float32", choices=("float32", "bfloat16"), help="of the base and of activations"
  )
  jobs = parser.add_subparsers(dest="job", required=True)
  one = jobs.add_parser("sft", help="LoRA fine-tuning")
  one.add_argument("--data", required=True, help="instruction data in any format that itune reads")
  one.add_argument("--steps", type=int, default=8)
  bench_costs.add_step(one)
  one.add_argument("--dora", action="store_true", help="DoRA in place of LoRA")
  one = jobs.add_parser("methods", help="step times of parameter-efficient methods against LoRA's, in turn")
  one.add_argument("--data", required=True)
  one.add_argument("--steps", type=int, default=5, help="turns (default: 5)")
  one.add_argument("--only", nargs="*", default=[], help="these methods; the first is what the others are divided by")
  bench_costs.add_step(one)
  one = jobs.add_parser("generate", help="greedy decoding")
  one.add_argument("--prompts", required=True, help="JSON lines with a field `prompt`")
  one.add_argument("--batch", type=int, default=8)
  one.add_argument("--rows", type=int, default=0, help="so many prompts, each with a length of its own")
  one.add_argument("--hf", default="", metavar="FOLDER", help="the same model for transformers, in turn")
  one.add_argument("--turns", type=int, default=2, help="after a warm-up (default: 2)")
  one.add_argument("--alone", action="store_true", help="then each prompt by itself: the same tokens?")
  one = jobs.add_parser("samples", help="several samples of each prompt, beside as many prompts")
  one.add_argument("--prompts", type=int, default=4)
  one.add_argument("--n", type=int, default=8, help="samples of each (default: 8)")
  one.add_argument("--length", type=int, default=1024, help="of every prompt (default: 1024)")
  one.add_argument("--new", type=int, default=32, help="tokens of every sample (default: 32)")
  one.add_argument("--turns", type=int, default=3)
  one = jobs.add_parser("score", help="log-likelihoods of answers")
  one.add_argument("--data", required=True)
  one.add_argument("--rows", type=int, default=64)
  one = jobs.add_parser("choices", help="log-likelihoods of several choices behind each question")
  one.add_argument("--data", required=True, help="JSON lines with `question` and `choices`")
  one.add_argument("--rows", type=int, default=64, help="questions whose choices all have several tokens (default: 64)")
  one.add_argument("--hf", default="", metavar="FOLDER", help="the same model for lm-eval's HF backend, in turn")
  one.add_argument("--batch", type=int, default=16, help="lm-eval's batch size")
  one.add_argument("--turns", type=int, default=3)
  bench_costs.add(jobs)
  bench_lm_eval.add(jobs)
  bench_scores.add(jobs)
  bench_suite.add(jobs)
  bench_formats.add(jobs)
  args = parser.parse_args()
  if args.job in ("sft", "methods", "matmuls", "scaling", "devices", "groups", "compare"):  # as `itune train` does
    memory.in_huge_pages()
  print(json.dumps({"system": "itune_jax", "job": args.job, **JOBS[args.job](args)}))


if __name__ == "__main__":
  main()
