"""Draws pictures of coloured shapes, asks about them, and writes a tiny vision-language model with random weights.

    python experiments/petal_vision/pictures.py --out runs/pictures

`before.jsonl` asks for one thing at a time, for the training of the base. `train.jsonl` and `held_out.jsonl` ask for a
description ("three red circle"); no combination of number, colour and shape stands in both. `swapped.jsonl` is
`train.jsonl` with each picture replaced by that of another row: what can be learned without looking.
"""

import argparse
import base64
import io
import itertools
import json
import os
import random
import zlib

import numpy as np
import PIL.Image
import PIL.ImageDraw
import safetensors.numpy
import tokenizers
import tokenizers.models
import tokenizers.pre_tokenizers
import transformers

from itune_jax.models import load
from itune_jax.models.hf import config as config_lib
from itune_jax.models.hf import layout
from itune_jax.nn import skeleton

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 230), "yellow": (235, 215, 50)}
SHAPES, NUMBERS = ("circle", "square", "triangle"), ("one", "two", "three", "four")
ASKED = {"colour": "which colour ?", "shape": "which shape ?", "number": "how many ?"}
SIDE, PATCH, SEED = 32, 8, 20261130
COMBINATIONS = list(itertools.product(NUMBERS, COLOURS, SHAPES))
WORDS = (*NUMBERS, *COLOURS, *SHAPES, "which", "how", "many", "colour", "shape", "describe", "it", "?", ".")
TEMPLATE = (
  "{% for m in messages %}{{ '<user>' if m['role'] == 'user' else '<answer>' }}{% if m['content'] is string %}"
  "{{ m['content'] }}{% else %}{% for p in m['content'] %}{{ p['text'] if p['type'] == 'text' else '<image>' }}"
  "{% endfor %}{% endif %}{{ '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ '<answer>' }}{% endif %}"
)


def draw(number: str, colour: str, shape: str, rng: random.Random) -> str:
  """A picture as a data URL: so many shapes, each in a quarter of its own, moved and scaled a little."""
  image = PIL.Image.new("RGB", (SIDE, SIDE), tuple(rng.randrange(0, 30) for _ in range(3)))
  pen, half = PIL.ImageDraw.Draw(image), SIDE // 2
  for at in rng.sample(range(4), NUMBERS.index(number) + 1):
    size = rng.randrange(9, 14)
    x, y = (half * (at % 2) + rng.randrange(half - size), half * (at // 2) + rng.randrange(half - size))
    fill = tuple(max(0, min(255, c + rng.randrange(-20, 21))) for c in COLOURS[colour])
    box = (x, y, x + size, y + size)
    if shape == "circle":
      pen.ellipse(box, fill=fill)
    elif shape == "square":
      pen.rectangle(box, fill=fill)
    else:
      pen.polygon(((x, y + size), (x + size, y + size), (x + size / 2, y)), fill=fill)
  out = io.BytesIO()
  image.save(out, format="PNG")
  return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def row(picture: str, question: str, answer: str) -> dict:
  """A conversation about a picture."""
  asked = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
  return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def rows(combinations, count: int, seed: str, single: bool) -> list[dict]:
  """So many rows over these combinations, asking for one thing or for all."""
  rng, found = random.Random(f"{SEED}/{seed}"), []
  for i in range(count):
    number, colour, shape = combinations[i % len(combinations)]
    kind = rng.choice(list(ASKED))
    one = {"colour": colour, "shape": shape, "number": number}[kind]
    asked, answer = (ASKED[kind], one) if single else ("describe it .", f"{number} {colour} {shape}")
    found.append(row(draw(number, colour, shape, rng), asked, answer))
  return found


def swapped(given: list[dict]) -> list[dict]:
  """The same conversations, each about the picture of another row."""
  order = list(range(len(given)))
  random.Random(SEED).shuffle(order)
  answers = [one["messages"][1]["content"] for one in given]
  pictures = [one["messages"][0]["content"][0]["image"] for one in given]
  return [row(pictures[k], "describe it .", answer) for k, answer in zip(order, answers, strict=True)]


def write_base(folder: str) -> None:
  """A LLaVA of two layers and 64 dimensions with random weights, its tokenizer of words, and its image processor."""
  os.makedirs(folder, exist_ok=True)
  special = ("<pad>", "<s>", "</s>", "<image>", "<user>", "<answer>", "<unknown>")
  vocabulary = {word: i for i, word in enumerate((*special, *WORDS))}
  fast = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unknown>"))
  fast.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
  more = dict(additional_special_tokens=["<image>", "<user>", "<answer>"], image_token="<image>")
  named = dict(pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unknown>")
  transformers.PreTrainedTokenizerFast(tokenizer_object=fast, chat_template=TEMPLATE, **named, **more).save_pretrained(
    folder
  )
  text = dict(model_type="llama", vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128)
  text |= dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128)
  text |= dict(rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
  vision = dict(model_type="clip_vision_model", hidden_size=64, intermediate_size=128, num_hidden_layers=3)
  vision |= dict(num_attention_heads=4, image_size=SIDE, patch_size=PATCH, projection_dim=64)
  config = dict(model_type="llava", image_token_index=vocabulary["<image>"], text_config=text, vision_config=vision)
  config |= dict(architectures=["LlavaForConditionalGeneration"])
  safetensors.numpy.save_file(weights(config), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
  picture = dict(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, resample=3)
  picture |= dict(image_processor_type="CLIPImageProcessor", image_mean=[0.5] * 3, image_std=[0.25] * 3)
  for name, value in (("config.json", config), ("preprocessor_config.json", picture)):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
      json.dump(value, f)


def weights(config: dict) -> dict[str, np.ndarray]:
  """Every tensor, drawn by its name: matrices by what goes into them, scales 1, biases 0."""
  cfg = config_lib.config_from_hf(config, "the tiny LLaVA")
  module, found = load.skeleton(cfg), {}
  _, shapes = skeleton.disassemble(module)
  for one in layout.parameters(shapes, cfg, skeleton.sites(module)):
    for name in one.theirs:
      rng, shape = np.random.default_rng([SEED, zlib.crc32(name.encode())]), one.their_shape
      vector = len(shape) == 1
      scale = 0.02 if vector or "embed" in name else float(np.prod(shape[1:])) ** -0.5
      start = 1.0 if "norm" in name and name.endswith("weight") else 0.0
      drawn = rng.standard_normal(shape) * (0.0 if vector and "class_embedding" not in name else scale)
      found[name] = (start + drawn).astype(np.float32)
  return found


def main() -> None:
  """Writes the files and prints how many rows each has."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", required=True, help="a folder")
  out = parser.parse_args().out
  write_base(os.path.join(out, "base"))
  mixed = random.Random(SEED).sample(COMBINATIONS, len(COMBINATIONS))
  known, unseen = mixed[12:], mixed[:12]
  train = rows(known, 720, "train", single=False)
  sets = {"before": rows(mixed, 4800, "before", single=True), "train": train, "swapped": swapped(train)}
  sets |= {"held_out": rows(unseen, 240, "held_out", single=False)}
  for name, found in sets.items():
    with open(os.path.join(out, f"{name}.jsonl"), "w", encoding="utf-8") as f:
      f.writelines(json.dumps(one) + "\n" for one in found)
  print(json.dumps({name: len(found) for name, found in sets.items()}))


if __name__ == "__main__":
  main()
