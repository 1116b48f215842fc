"""Images of conversations: from a content part to the pixels that a vision-language model reads.

The geometry (resize, crop) is that of the model's own image processor, which transformers builds from the model's
folder with its PIL backend. What is stored is its 8-bit result; rescaling and normalising come behind the cache.
"""

import dataclasses
import hashlib
import json
import os
from typing import Any

import numpy as np
import transformers

from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.data import example as example_lib

image_utils = lazy.module("transformers.image_utils")  # it loads torch where that is installed: not for text alone

CONFIG_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclasses.dataclass(frozen=True)
class Scale:
  """From 8-bit pixels to what the model reads: (x · factor - mean) / std, by channel."""

  size: int
  factor: float
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def __call__(self, pixels_IHWC: np.ndarray) -> np.ndarray:
    """Float32 pixels [I, H, W, 3] of 8-bit ones."""
    x = pixels_IHWC.astype(np.float32) * np.float32(self.factor)
    return (x - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)


@dataclasses.dataclass(frozen=True)
class Images:
  """How a model takes images: each is `patches` times the token `token` in the text, and `scale.size` pixels square."""

  processor: Any
  token: int
  patches: int
  scale: Scale

  def read(self, part: dict[str, Any]) -> np.ndarray:
    """8-bit pixels [H, W, 3] of an image part. Raises BadRow when it cannot be had."""
    where = part.get("image")
    if not isinstance(where, str):
      raise example_lib.BadRow('an image part needs `image`: a path or a data URL ("data:image/png;base64,…")')
    if where.startswith(("http://", "https://")):
      raise example_lib.BadRow(f"{where}: images are not fetched; save it and give its path")
    if not where.startswith("data:") and not os.path.isfile(where):
      raise example_lib.BadRow(f"{where}: no such image file")
    try:
      image = image_utils.load_image(where)
      pixels = self.processor([image], do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    except (OSError, ValueError) as e:
      raise example_lib.BadRow(f"{where[:80]}: not readable as an image ({str(e)[:80]})") from None
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(np.uint8)

  def count(self, ids: np.ndarray) -> int:
    """How many whole images stand in ids [n]."""
    return int((np.asarray(ids) == self.token).sum()) // self.patches

  def digest(self) -> str:
    """What a cached image depends on besides its bytes."""
    what = [self.processor.to_dict(), self.token, self.patches, self.scale.size]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def load(folder: str, *, token: int, patches: int, size: int) -> Images | None:
  """How the model of a Hugging Face folder takes images; None where the folder has no image processor.

  Args:
    token: id that stands for a patch in the text. patches: of an image. size: of its side, in pixels.

  Raises:
    InputError when the processor's images are not of the size that the model takes.
  """
  if not any(os.path.exists(os.path.join(folder, name)) for name in CONFIG_FILES):
    return None
  try:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{folder}: its image processor cannot be built ({str(e).splitlines()[0]})") from None
  made = processor([np.zeros((size, size + 1, 3), np.uint8)], do_rescale=False, do_normalize=False, return_tensors="np")
  found = made["pixel_values"].shape[1:]
  if found != (3, size, size):
    raise errors.InputError(f"{folder}: its image processor makes {found}, the model takes (3, {size}, {size})")
  on = lambda flag, value, off: value if getattr(processor, flag) else off
  scale = Scale(
    size,
    float(on("do_rescale", processor.rescale_factor, 1.0)),
    tuple(map(float, on("do_normalize", processor.image_mean, (0.0,) * 3))),
    tuple(map(float, on("do_normalize", processor.image_std, (1.0,) * 3))),
  )
  return Images(processor, token, patches, scale)


def parts(messages: Any) -> list[dict[str, Any]]:
  """The image parts of messages, in order."""
  return [
    part
    for message in messages
    if isinstance(message.get("content"), list)
    for part in message["content"]
    if part.get("type") == "image"
  ]
