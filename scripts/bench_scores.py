"""The job `select_scores` of `bench.py`: scores of rows here beside the published loops in torch, in turn.

The loops are those of Cherry_LLM (`cherry_seletion/data_analysis.py`: two forward passes a row, then one log-softmax a
token), of PVI (`dataset_difficulty/v_info.py`: a forward pass by each of two tuned models) and of LESS
(`less/data_selection/collect_grad_reps.py`: a backward pass a row, gradients joined, Adam's direction). All have batch
1, float32, the same ids, and as many threads as there are cores. Both sides have the same weights: adapters are written
by `itune export` and read by peft. The projection of LESS is left out on both sides.
"""

from collections.abc import Callable, Sequence
import os
import tempfile
from typing import Any

import bench_lib
import jax
import jax.numpy as jnp
import numpy as np

from itune_jax import api
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.data.render import chat
from itune_jax.peft.methods import lora
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.select import input_rows
from itune_jax.select.scores import answers
from itune_jax.select.scores import gradients

torch = lazy.module("torch")
transformers = lazy.module("transformers")
peft = lazy.module("peft")

FIRST, SECOND = 1e-4, 1e-8  # Adam's moments of every parameter, the same on both sides


def select_scores(args) -> dict[str, Any]:
  """Rows a second of both, and of our own batch of one; the ratios of each turn, and how far values are apart."""
  torch.set_num_threads(os.cpu_count() or 1)
  with tempfile.TemporaryDirectory() as folder:
    session = _session(args, seed=1)
    found = _answers(args, session)
    tuned = [session, _session(args, seed=2)]
    theirs = _theirs(args, tuned, folder)
    figures: dict[str, Any] = {"rows": len(found), "tokens": sum(one.tokens for one in found)}
    for name, job in (("ifd", _ifd), ("pvi", _pvi), ("less", _less)):
      if name in args.only:
        figures[name] = _timed(args, *job(args, tuned, theirs, found))
  return {**figures, "peak_rss_gib": bench_lib.peak_rss_gib()}


def _session(args, seed: int) -> session_lib.Session:
  """A base with an adapter whose arrays are all random."""
  method = lora.Lora(rank=args.rank, alpha=4.0 * args.rank, sites=r".*/(q|k|v|o)")
  session = session_lib.open_session(specs.Model(base=args.model), (method,))
  rs = np.random.RandomState(seed)
  noise = {n: np.asarray(rs.randn(*x.shape) * 0.02, np.float32) for n, x in sorted(session.trainable.items())}
  return session.with_arrays({n: jax.device_put(x, session.trainable[n].sharding) for n, x in noise.items()})


def _answers(args, session) -> list[answers.Answers]:
  renderer = session.renderer(chat.Rendering(max_length=bench_lib.MAX_LENGTH))
  rows = (given.row for given in input_rows.rows(args.data) if given.row is not None)
  made = (answers.of(renderer, row) for row in rows)
  # One answer a row, as the published programs have it.
  some = (one for one in made if one is not None and len(one.given) == len(one.alone) == 1)
  found = [one for _, one in zip(range(args.rows), some, strict=False)]
  if not found:
    raise errors.InputError(f"{args.data}: no row of it is instruction data with one answer that renders and fits")
  return found


def _theirs(args, tuned, folder: str) -> Any:
  """The same base in transformers, with both adapters."""
  names = [os.path.join(folder, name) for name in ("given", "alone")]
  for session, name in zip(tuned, names, strict=True):
    api.export_peft(api.Model(session), name)
  model = transformers.AutoModelForCausalLM.from_pretrained(args.hf, dtype=torch.float32)
  model = peft.PeftModel.from_pretrained(model, names[0], adapter_name="given", is_trainable=True)
  model.load_adapter(names[1], adapter_name="alone", is_trainable=True)
  return model.eval()


def _timed(args, systems: dict[str, Callable], apart: Callable) -> dict[str, Any]:
  found, seconds = bench_lib.in_turn(systems, args.turns)
  ours, one, theirs = (seconds[name][1:] for name in ("ours", "ours_one", "torch"))
  return {
    **{f"{name}_s": bench_lib.spread(times[1:]) for name, times in seconds.items()},
    "torch_over_ours": bench_lib.spread([b / a for a, b in zip(ours, theirs, strict=True)]),
    "one_over_batch": bench_lib.spread([b / a for a, b in zip(ours, one, strict=True)]),
    "largest_difference": apart(found["ours"], found["torch"]),
    "from_batch_of_one": apart(found["ours"], found["ours_one"]),
  }


def _nats(engine, items: Sequence[Any]) -> np.ndarray:
  return np.array([one.nats.mean(dtype=np.float64) for one in engine.losses(items)])


def _relative(a: np.ndarray, b: np.ndarray) -> float:
  """The largest difference, as a share of the value."""
  return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-9)))


def _ifd(args, tuned, theirs, found):
  engine = tuned[0].engine()

  def ours(size: int) -> np.ndarray:
    parts = [found[at : at + size] for at in range(0, len(found), size)]
    ratios = []
    for part in parts:
      nats = _nats(engine, [one.given[0] for one in part] + [one.alone[0] for one in part])
      ratios.append(nats[: len(part)] / nats[len(part) :])
    return np.concatenate(ratios)

  def loop() -> np.ndarray:
    theirs.set_adapter("given")
    return np.array([_cherry(theirs, one.given[0]) / _cherry(theirs, one.alone[0]) for one in found])

  return {"ours": lambda: ours(args.batch), "ours_one": lambda: ours(1), "torch": loop}, _relative


def _cherry(model, item) -> float:
  """Mean nats of an answer, as Cherry_LLM makes them: transformers' own loss, then each token's again."""
  ids = torch.tensor(item.ids[None], dtype=torch.long)
  labels = ids.clone()
  labels[0, torch.tensor(item.weights == 0)] = -100
  with torch.no_grad():
    logits = model(input_ids=ids, labels=labels, output_hidden_states=True).logits
  losses = []
  for i in range(1, ids.shape[1]):
    log_probs = torch.nn.functional.log_softmax(logits[0, i - 1], dim=-1)
    losses.append(torch.nn.functional.nll_loss(log_probs.unsqueeze(0), ids[0, i].unsqueeze(0)).item())
  return float(np.array(losses)[np.asarray(item.weights[1:]) != 0].mean())


def _pvi(args, tuned, theirs, found):
  engines = [one.engine() for one in tuned]

  def ours(size: int) -> np.ndarray:
    bits = []
    for at in range(0, len(found), size):
      part = found[at : at + size]
      nats = [_nats(engine, [one[k][0] for one in part]) for k, engine in enumerate(engines)]
      bits.append((nats[1] - nats[0]) * [one.tokens for one in part] / np.log(2))
    return np.concatenate(bits)

  def loop() -> np.ndarray:
    sides = []
    for k, name in enumerate(("given", "alone")):
      theirs.set_adapter(name)
      sides.append([_loss(theirs, one[k][0]) for one in found])
    return (np.array(sides[1]) - np.array(sides[0])) * [one.tokens for one in found] / np.log(2)

  return {"ours": lambda: ours(args.batch), "ours_one": lambda: ours(1), "torch": loop}, _relative


def _loss(model, item) -> float:
  ids = torch.tensor(item.ids[None], dtype=torch.long)
  labels = ids.masked_fill(torch.tensor(item.weights[None] == 0), -100)
  with torch.no_grad():
    return float(model(input_ids=ids, labels=labels).loss)


def _less(args, tuned, theirs, found):
  session = tuned[0]
  trainable, frozen = session.trainable, session.frozen
  examples, put = [one.given for one in found], session.engine().put

  @jax.jit
  def steps(trainable, frozen, batch):
    made = gradients.per_example(session.binder, trainable, frozen, batch)
    of = lambda g: gradients.adam(g, jnp.full_like(g[:1], FIRST), jnp.full_like(g[:1], SECOND))
    flat = jnp.concatenate([of(made[n]).reshape(made[n].shape[0], -1) for n in sorted(made)], axis=1)
    return flat / jnp.linalg.norm(flat, axis=1, keepdims=True)

  def ours(size: int) -> np.ndarray:
    """Steps of length 1, by row; on the host, as torch has them."""
    rows: list[Any] = [None] * len(examples)
    for members, batch in gradients.batches(examples, size):
      made = np.asarray(steps(trainable, frozen, put(batch)))
      for i, one in zip(members, made, strict=False):
        rows[i] = one
    return np.stack(rows)

  def loop() -> np.ndarray:
    theirs.set_adapter("given")
    rows = []
    for (item,) in examples:
      ids = torch.tensor(item.ids[None], dtype=torch.long)
      labels = ids.masked_fill(torch.tensor(item.weights[None] == 0), -100)
      theirs(input_ids=ids, labels=labels).loss.backward()
      flat = torch.cat([p.grad.view(-1) for p in theirs.parameters() if p.grad is not None])
      theirs.zero_grad()
      first = gradients.BETA1 * FIRST + (1 - gradients.BETA1) * flat
      second = gradients.BETA2 * SECOND + (1 - gradients.BETA2) * flat**2
      rows.append(torch.nn.functional.normalize(first / torch.sqrt(second + gradients.EPS), dim=0).numpy())
    return np.stack(rows)

  # Parameters lie otherwise in torch: products between rows are the same in any order.
  apart = lambda a, b: float(np.abs(a @ a.T - b @ b.T).max())
  return {"ours": lambda: ours(args.gradients), "ours_one": lambda: ours(1), "torch": loop}, apart


JOBS = {"select_scores": select_scores}


def add(jobs: Any) -> None:
  """The flags of the job."""
  one = jobs.add_parser("select_scores", help="IFD, PVI and LESS beside the published loops in torch")
  one.add_argument("--data", required=True, help="instruction data in any format that itune reads")
  one.add_argument("--hf", required=True, metavar="FOLDER", help="the same model for transformers")
  one.add_argument("--rows", type=int, default=64)
  one.add_argument("--batch", type=int, default=64, help="rows that are scored together (default: 64)")
  one.add_argument("--gradients", type=int, default=16, help="rows whose gradients are made together (default: 16)")
  one.add_argument("--rank", type=int, default=8, help="of the adapters (default: 8)")
  one.add_argument("--turns", type=int, default=2, help="after a warm-up (default: 2)")
  one.add_argument("--only", nargs="*", default=["ifd", "pvi", "less"])
