"""What the parity tests of all kinds of models share."""

import numpy as np
import torch
import transformers

from itune_jax.core import axes
from itune_jax.core import batch as batch_lib
from itune_jax.models import load
from tests import tiny

FORWARD, GRADIENT = 1e-4, 1e-3
FIGURES: dict[str, dict[str, float]] = {}  # by family
METHODS: dict[str, dict[str, float]] = {}  # by method


def relative(ours, theirs):
  """Largest difference, as a share of the range of theirs."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  return float(np.abs(ours - theirs).max() / (theirs.max() - theirs.min()))


def record(case, what, value, limit):
  """Books a figure and checks it."""
  FIGURES.setdefault(case, {})[what] = value
  assert value <= limit, f"{case} {what}: {value:.2e}"


def line(case):
  """The row of the parity table."""
  return f"\n{case}: " + ", ".join(f"{k} {v:.1e}" for k, v in FIGURES[case].items())


def rows_of(tokens_BT):
  """Whole rows as a batch."""
  B, length = tokens_BT.shape
  positions = np.broadcast_to(np.arange(length, dtype=np.int32), (B, length))
  return batch_lib.Batch(tokens_BT, None, None, np.ones((B, length), np.int32), positions)


def make_theirs(fields, auto):
  """A random model of transformers; norms and biases start at one and zero, so they are moved, or nothing would
  test them."""
  torch.manual_seed(0)
  config = transformers.AutoConfig.for_model(**fields)
  config._attn_implementation = "eager"
  model = auto.from_config(config, dtype=torch.float32).eval()
  with torch.no_grad():
    for p in model.parameters():
      if p.ndim == 1:
        p += 0.2 * torch.randn_like(p)
  return model


def open_ours(folder):
  """The same model here."""
  return load.load(str(folder), mesh=tiny.mesh(1), rules=axes.DEFAULT_RULES)


def reload(auto, folder):
  """A folder of ours in transformers; every tensor must find its place."""
  model, info = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
  assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
  return model.eval()
