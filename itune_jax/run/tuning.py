"""Small trainings that scores ask for: an adapter on rendered rows, by the loop of `itune train`, resumable by name."""

from collections.abc import Sequence
import dataclasses
import hashlib
import json
import math
import os
from typing import Any

import jax
import numpy as np
import optax

from itune_jax.core import check
from itune_jax.core import log
from itune_jax.core import pack
from itune_jax.core import rng
from itune_jax.data import feed as feed_lib
from itune_jax.data import tokenised
from itune_jax.data.render import chat
from itune_jax.nn import skeleton
from itune_jax.objectives import sft
from itune_jax.optim import adamw
from itune_jax.optim import schedule
from itune_jax.parallel import hosts
from itune_jax.parallel import shard
from itune_jax.peft import attach
from itune_jax.peft.methods import lora
from itune_jax.run import session as session_lib
from itune_jax.select.scores import asked as asked_lib
from itune_jax.train import checkpoint
from itune_jax.train import loop
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib

SOURCE = "rows"


class _Items(tokenised.Examples):
  """Items at hand, as the feed takes them."""

  def __init__(self, items: Sequence[pack.Item]):
    self._items = items

  @property
  def lengths(self) -> np.ndarray:
    """Positions of each."""
    return np.array([len(item.ids) - 1 for item in self._items], np.int32)

  def __getitem__(self, index: int) -> pack.Item:
    return self._items[int(index)]


def tune(
  session: session_lib.Session, items: Sequence[pack.Item], how: asked_lib.Tuning, folder: str
) -> tuple[session_lib.Session, tuple[asked_lib.Checkpoint, ...]]:
  """The base of a session with a LoRA adapter that is trained on these items, and the checkpoints of the training.

  folder: where it is kept, with a digest of all that makes it behind its name. What is there already, whole or in part,
  is not made again.

  Raises InputError for a model that has an adapter already, for images, and where an item is longer than a row.
  """
  check.require(not session.attached.methods, "a score that trains takes a base: merge the adapter first (itune merge)")
  check.require(all(item.images is None for item in items), "a score that trains takes rows without images")
  method = lora.Lora(rank=how.rank, alpha=how.alpha, sites=how.sites)
  tuned = session.with_attached(
    attach.attach(
      session.base.module,
      session.base.params,
      (method,),
      rng.named(rng.root(how.seed), "peft"),
      mesh=session.mesh,
      rules=session.rules,
    )
  )
  # An item may fill a row at the most; the packed rows of a step are as long as the longest asks for.
  longest = max(len(item.ids) - 1 for item in items)
  packing = feed_lib.Packing(row_length=max(how.row_length, -(-longest // 64) * 64), rows=how.rows)
  feed = feed_lib.Feed({SOURCE: _Items(items)}, {SOURCE: 1.0}, packing, seed=how.seed, rows=_rows(session, how.rows))
  steps = max(1, math.ceil(how.epochs * feed.steps_per_epoch()))
  optimizer = adamw.AdamW(schedule=schedule.Schedule(rate=how.rate, kind="linear", warmup=how.warmup))
  transform, rate = optimizer.make(steps, tuned.attached.trainable, skeleton.leaves(tuned.attached.module))
  state = state_lib.create(tuned.trainable, transform, how.seed, session.mesh)
  where = {name: value.sharding for name, value in state.trainable.items()}
  step = step_lib.make_step(tuned.binder, sft.Sft(), transform, rate, where)
  every = math.ceil(steps / how.checkpoints)
  place = f"{folder}-{_digest(session, items, how)}"
  keep = checkpoint.Keep(every=every, last=how.checkpoints)
  checkpointer = checkpoint.Checkpointer(place, keep, tuned.identity(chat.Rendering()), tuned.constants)
  latest = checkpointer.latest()
  done = int(os.path.basename(latest)) if latest else 0
  if done < steps:
    log.info(f"tuning {os.path.basename(folder)}: steps {done} to {steps} on {len(items)} items, kept in {place}")
    begun = checkpointer.restore(latest, state)[0] if latest else state
    _loop(tuned, feed, step, steps, checkpointer, every, place).run(begun)
  return _read(tuned, checkpointer, state_lib.create(tuned.trainable, transform, how.seed, session.mesh), rate)


def _loop(tuned, feed, step, steps: int, checkpointer, every: int, place: str) -> loop.Loop:
  put = lambda batch: shard.global_batch(
    jax.tree.map(lambda x: x[None], batch), tuned.mesh, tuned.rules, feed.packing.rows, stacked=True
  )
  engine = tuned.engine()
  return loop.Loop(
    step_fn=step,
    frozen=tuned.frozen,
    source=feed,
    put=put,
    steps=steps,
    hooks=(),
    evaluators=(),
    view=lambda trainable: engine.with_params({**trainable, **tuned.frozen}),
    record=lambda step, name, result: None,
    checkpointer=checkpointer,
    save_every=every,
    early_stop=loop.EarlyStop(),
    asked=lambda step: False,
    run_dir=place,
  )


def _read(tuned, checkpointer, like, rate) -> tuple[session_lib.Session, tuple[asked_lib.Checkpoint, ...]]:
  """The session with the arrays of the last checkpoint, and all of them."""
  found, begun = [], 0
  for folder in checkpoint.committed(checkpointer.folder):
    state, step = checkpointer.restore(folder, like)[0], int(os.path.basename(folder))
    first, second = _moments(state.opt_state)
    mean = float(np.mean([float(rate(k)) for k in range(begun, step)]))
    found.append(asked_lib.Checkpoint(dict(state.trainable), first, second, mean))
    begun = step
  return tuned.with_arrays(found[-1].params), tuple(found)


def _moments(opt_state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
  """Adam's moments by name, of every group of parameters."""
  states = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, optax.ScaleByAdamState))
  adams = [one for one in states if isinstance(one, optax.ScaleByAdamState)]
  named = lambda trees: {name: x for tree in trees for name, x in tree.items() if isinstance(x, jax.Array)}
  return named([one.mu for one in adams]), named([one.nu for one in adams])


def _rows(session: session_lib.Session, rows: int) -> list[int]:
  return hosts.rows(session.mesh, session.rules, rows, 1)


def _digest(session: session_lib.Session, items: Sequence[pack.Item], how: asked_lib.Tuning) -> str:
  """16 digits of all that makes a training what it is."""
  who = {**session.identity(chat.Rendering()), "tuning": dataclasses.asdict(how)}
  sha = hashlib.sha256(json.dumps(who, sort_keys=True, default=str).encode())
  for item in items:
    sha.update(np.asarray(item.ids, np.int32).tobytes() + np.asarray(item.weights, np.float32).tobytes())
  return sha.hexdigest()[:16]
