"""Images of conversations: from a content part to the pixels that a vision-language model reads.

The geometry (resize, crop) is that of the model's own image processor, which transformers builds from the model's
folder with its PIL backend. What is stored is its 8-bit result; rescaling and normalising come behind the cache.
"""

import base64
import dataclasses
import hashlib
import io
import json
import math
import os
import warnings
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import transformers

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import example as example_lib

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
    is_data = where[:5].lower() == "data:"
    if "://" in where[:20] and not is_data:
      raise example_lib.BadRow(f"{where[:200]}: images are not fetched; save it and give its path")
    if not is_data and not os.path.isfile(where):
      raise example_lib.BadRow(f"{where[:200]}: no such image file")
    try:
      image = _opened(where, is_data)
      self._check_shape(where, image)
      pixels = self.processor([image], do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    except example_lib.BadRow:
      raise
    except PIL.UnidentifiedImageError:
      raise example_lib.BadRow(f"{where[:80]}: not readable as an image (of no known format)") from None
    except Exception as e:  # decoders of damaged files raise what they like: SyntaxError, struct.error, zlib.error, …
      raise example_lib.BadRow(f"{where[:80]}: not readable as an image ({jsontext.said(e, 80)})") from None
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(np.uint8)

  def _check_shape(self, where: str, image: PIL.Image.Image) -> None:
    """Raises BadRow for a strip: with its short side as long as the model's images it would fill memory."""
    short, long = sorted(image.size)
    most = PIL.Image.MAX_IMAGE_PIXELS or math.inf
    if self.scale.size**2 * (long / short) > most:
      raise example_lib.BadRow(f"{where[:80]}: it is {image.size[0]} x {image.size[1]} pixels, a strip: cut it")

  def count(self, ids: np.ndarray) -> int:
    """How many whole images stand in ids [n]."""
    return int((np.asarray(ids) == self.token).sum()) // self.patches

  def digest(self) -> str:
    """What a cached image depends on besides its bytes."""
    what = [self.processor.to_dict(), self.token, self.patches, self.scale.size]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def _opened(where: str, is_data: bool) -> PIL.Image.Image:
  """An image file or data URL as 8-bit RGB, upright. Raises BadRow for numbers whose range nobody knows and for several
  pictures in one, and whatever the decoder raises for what is no image, or one that would take too much memory."""
  if is_data:
    head, comma, body = where.partition(",")
    if not comma or not head.lower().endswith(";base64"):
      raise example_lib.BadRow(f"{where[:40]}: a data URL of an image is data:image/png;base64,…")
    data = base64.b64decode("".join(body.split()), validate=True)
  else:
    with open(where, "rb") as f:
      data = f.read()
  with warnings.catch_warnings():
    warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning)  # of palettes with transparency and of odd metadata
    image = PIL.Image.open(io.BytesIO(data))
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's, whose others are previews and depths of the first
      raise example_lib.BadRow(
        f"{where[:80]}: it holds {frames} pictures (an animation, pages): save the one that counts"
      )
    image.load()
    image = PIL.ImageOps.exif_transpose(image)
  if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # Pillow itself would cut at 255
    return PIL.Image.fromarray(np.rint(np.asarray(image, np.float64) / 257).astype(np.uint8)).convert("RGB")
  if image.mode in ("I", "F"):
    kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
    raise example_lib.BadRow(
      f"{where[:80]}: its pixels are {kind} of unknown range; save it with 8 or 16 bits a channel"
    )
  return image.convert("RGB")


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
  except Exception as e:  # of transformers, for any fault of the file
    raise errors.InputError(f"{folder}: its image processor cannot be built ({jsontext.said(e)})") from None
  try:
    _check_settings(folder, processor)
    probe = np.zeros((size, size + 1, 3), np.uint8)
    made = processor([probe], do_rescale=False, do_normalize=False, return_tensors="np")
    found = made["pixel_values"].shape[1:]
  except errors.InputError:
    raise
  except Exception as e:  # of transformers, for settings that it looks at in use only
    raise errors.InputError(f"{folder}: its image processor fails on an image ({jsontext.said(e)})") from None
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


_LARGEST = 8192  # pixels of a side; no processor asks for more, and images of a million would fill memory


def _check_settings(folder: str, processor: Any) -> None:
  """Raises InputError for settings that would scale pixels to no numbers, which transformers takes as they come."""
  said = lambda key: f"{folder}: {key} of its image processor is {jsontext.shown(getattr(processor, key, None))}"
  number = lambda x: isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
  for key in ("size", "crop_size"):
    found = getattr(processor, key, None)
    for value in dict(found).values() if found else ():
      if value is not None and not (type(value) is int and 0 < value <= _LARGEST):
        raise errors.InputError(f"{said(key)}; whole numbers from 1 to {_LARGEST:,} are expected")
  for key in ("do_rescale", "do_normalize"):
    if not isinstance(getattr(processor, key, None), bool):
      raise errors.InputError(f"{said(key)}; true or false is expected")
  if processor.do_rescale and not (number(processor.rescale_factor) and processor.rescale_factor > 0):
    raise errors.InputError(f"{said('rescale_factor')}; a number above 0 is expected")
  for key, least in (("image_mean", -math.inf), ("image_std", 0)) if processor.do_normalize else ():
    found = getattr(processor, key, None)
    if not isinstance(found, (list, tuple)) or len(found) != 3 or not all(number(x) and x > least for x in found):
      raise errors.InputError(f"{said(key)}; three numbers{' above 0' if least == 0 else ''} are expected")


def parts(messages: Any) -> list[dict[str, Any]]:
  """The image parts of messages, in order."""
  return [
    part
    for message in messages
    if isinstance(message.get("content"), list)
    for part in message["content"]
    if part.get("type") == "image"
  ]
