"""Tiny Hugging Face folders of every family, made without torch: weights are drawn tensor by tensor, by name."""

import json
import pathlib
import zlib

import numpy as np
import safetensors.numpy
import tokenizers
import tokenizers.decoders
import tokenizers.models
import tokenizers.pre_tokenizers
import transformers

from itune_jax.core import axes
from itune_jax.core import pack
from itune_jax.models import hf
from itune_jax.models import hf_config
from itune_jax.models import load
from itune_jax.nn import tree as nn_tree
from tests import tiny
from tests.models import families

EVERY = {**families.CASES, **families.ENCDEC, **families.VLM}
IMAGE, PATCHES = 90, 16


def write(case: str, folder: pathlib.Path) -> pathlib.Path:
  """config.json and model.safetensors of a case."""
  folder.mkdir(parents=True, exist_ok=True)
  config = dict(EVERY[case])
  cfg = hf_config.config_from_hf(config, case)
  module = load.skeleton(cfg)
  _, shapes = nn_tree.disassemble(module)
  tensors = {}
  for row in hf.parameters(shapes, cfg, nn_tree.sites(module)):
    for name in row.theirs:
      draw = np.random.RandomState(zlib.crc32(name.encode())).randn(*row.their_shape).astype(np.float32)
      vector = len(row.their_shape) == 1
      around = 1.0 if vector and name.endswith("weight") and "gemma" not in cfg.family else 0.0
      tensors[name] = around + draw * (0.2 if vector else 0.3)
  safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
  (folder / "config.json").write_text(json.dumps(config))
  return folder


def open_ours(folder) -> load.Base:
  """The same model here."""
  return load.load(str(folder), mesh=tiny.mesh(1), rules=axes.DEFAULT_RULES)


def inputs(case: str):
  """(packed batch of one row, images or None): 24 tokens of prompt and answer, behind an image where there is one."""
  rs = np.random.RandomState(0)
  tokens = rs.randint(3, 90, 24).astype(np.int32)
  images = None
  if case in families.VLM:
    tokens = np.r_[np.full(PATCHES, IMAGE, np.int32), tokens]
    images = rs.randn(1, 16, 16, 3).astype(np.float32)
  weights = (np.arange(len(tokens)) >= len(tokens) - 10).astype(np.float32)
  return pack.fill([[(tokens, weights)]], len(tokens) - 1), images


TEMPLATE = (
  "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}</s>{% endfor %}"
  "{% if add_generation_prompt %}<a>{% endif %}"
)


def write_tokenizer(folder: pathlib.Path) -> None:
  """A tokenizer of single characters with 96 tokens, and a chat template."""
  vocab = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *map(chr, range(32, 125))])}
  fast = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token=" "))
  fast.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
  fast.decoder = tokenizers.decoders.Fuse()
  wrapped = transformers.PreTrainedTokenizerFast(
    tokenizer_object=fast, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
  )
  wrapped.save_pretrained(folder)
