"""Tiny Hugging Face folders of every family, made without torch: weights are drawn tensor by tensor, by name."""

import json
import pathlib
import zlib

import numpy as np
import PIL.Image
import safetensors.numpy
import tokenizers
import tokenizers.decoders
import tokenizers.models
import tokenizers.pre_tokenizers
import transformers

from itune_jax.core import axes
from itune_jax.core import pack
from itune_jax.models.hf import layout
from itune_jax.models.hf import config as config_lib
from itune_jax.models import load
from itune_jax.nn import skeleton
from tests import tiny
from tests.models import families

EVERY = {**families.CASES, **families.ENCDEC, **families.VLM}
IMAGE, PATCHES, SIDE = 90, 16, 16


def write(case: str, folder: pathlib.Path) -> pathlib.Path:
  """config.json and model.safetensors of a case."""
  folder.mkdir(parents=True, exist_ok=True)
  config = dict(EVERY[case])
  cfg = config_lib.config_from_hf(config, case)
  module = load.skeleton(cfg)
  _, shapes = skeleton.disassemble(module)
  tensors = {}
  for row in layout.parameters(shapes, cfg, skeleton.sites(module)):
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
  """A packed batch of one row: 24 tokens of prompt and answer, behind an image where there is one."""
  rs = np.random.RandomState(0)
  tokens = rs.randint(3, 90, 24).astype(np.int32)
  images = None
  if case in families.VLM:
    tokens = np.r_[np.full(PATCHES, IMAGE, np.int32), tokens]
    images = rs.randn(1, SIDE, SIDE, 3).astype(np.float32)
  weights = (np.arange(len(tokens)) >= len(tokens) - 10).astype(np.float32)
  return pack.fill([[(tokens, weights, images)]], len(tokens) - 1)


TEMPLATE = (
  "{% for m in messages %}<{{ m['role'][0] }}>{% if m['content'] is string %}{{ m['content'] }}{% else %}"
  "{% for p in m['content'] %}{{ p['text'] if p['type'] == 'text' else '<image>' }}{% endfor %}{% endif %}</s>"
  "{% endfor %}"
  "{% if add_generation_prompt %}<a>{% endif %}"
)


def write_tokenizer(folder: pathlib.Path, template: str = TEMPLATE) -> None:
  """A tokenizer of single characters with 96 tokens, and a chat template; <image> is the token of the VLM cases."""
  vocab = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *map(chr, range(32, 125))])}
  vocab = {"<image>" if i == IMAGE else "\n" if token == "|" else token: i for token, i in vocab.items()}
  fast = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token=" "))
  fast.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
  fast.decoder = tokenizers.decoders.Fuse()
  wrapped = transformers.PreTrainedTokenizerFast(
    tokenizer_object=fast, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<s>",
    chat_template=template, additional_special_tokens=["<image>"], image_token="<image>",
  )  # fmt: skip
  wrapped.save_pretrained(folder)


def write_processor(case: str, folder: pathlib.Path) -> None:
  """preprocessor_config.json of a vision-language case: CLIP's for LLaVA, SigLIP's for PaliGemma."""
  config: dict = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
  }
  if case.startswith("paligemma"):
    config = {
      "image_processor_type": "SiglipImageProcessor",
      "image_seq_length": PATCHES,
      "size": {"height": SIDE, "width": SIDE},
      "image_mean": [0.5] * 3,
      "image_std": [0.5] * 3,
    }
  (folder / "preprocessor_config.json").write_text(json.dumps(config | {"resample": 3}))


def write_images(folder: pathlib.Path) -> list[str]:
  """Pictures of all shapes and modes: wide, tall, small, grey, with alpha, with a palette, turned by EXIF."""
  rs, found = np.random.RandomState(0), []
  for n, (mode, size) in enumerate(
    [("RGB", (40, 25)), ("RGB", (18, 61)), ("RGB", (7, 9)), ("L", (33, 33)), ("RGBA", (50, 20)), ("P", (24, 30))]
  ):
    image = PIL.Image.fromarray(rs.randint(0, 256, (*size[::-1], 3)).astype(np.uint8)).convert(mode)
    found.append(str(folder / f"{n}.png"))
    image.save(found[-1])
  turned = PIL.Image.fromarray(rs.randint(0, 256, (30, 20, 3)).astype(np.uint8))
  exif = turned.getexif()
  exif[0x0112] = 6
  found.append(str(folder / "turned.jpg"))
  turned.save(found[-1], exif=exif)
  return found
