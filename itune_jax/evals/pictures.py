"""Images of benchmarks as parts of a question: a file beside the rows, or bytes within them.

What cannot be read as an image (truncated, huge, of another kind) is refused by whoever renders the prompt, with its
place; a file that is not there is refused here, before anything is asked.
"""

import base64
from collections.abc import Sequence
import os
from typing import Any

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import folders

KINDS = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp"))


def of_file(folder: folders.Folder, names: Sequence[str], where: str) -> dict[str, str]:
  """The part of the first of the names that is there. Raises InputError naming row and file."""
  for name in names:
    path = os.path.join(folder.path, name)
    if os.path.isfile(path):
      return {"type": "image", "image": path}
  raise errors.InputError(f"{where}: its image is not there: {os.path.join(folder.path, names[0])}")


def of_bytes(data: Any, where: str) -> dict[str, str]:
  """The part of an image file's bytes, or of their base64. Raises InputError for what begins like no image."""
  try:
    raw = base64.b64decode(data, validate=True) if isinstance(data, str) else bytes(data)
  except (ValueError, TypeError):
    raise errors.InputError(f"{where}: its image is neither bytes nor base64") from None
  kind = next((name for head, name in KINDS if raw.startswith(head)), None)
  if kind is None:
    raise errors.InputError(f"{where}: its image begins like no PNG, JPEG, GIF, WebP or BMP ({len(raw)} bytes)")
  return {"type": "image", "image": f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"}


def question(parts: Sequence[dict[str, str]]) -> conversation.Conversation:
  """One user's turn of image parts and texts, `{"type": "text", "text": …}`."""
  return conversation.of([{"role": "user", "content": list(parts)}])


def text(told: str) -> dict[str, str]:
  """A part of text."""
  return {"type": "text", "text": told}
