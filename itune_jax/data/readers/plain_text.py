"""The format `text`, told by name alone: raw text for continued pretraining, around which no template is put.

It stands under `text`, or under `content`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import building


def parse(raw: Mapping[str, Any]) -> example_lib.Example:
  """An example whose one message is the text. Raises BadRow."""
  key = "text" if building.holds(raw, "text") or "content" not in raw else "content"
  said = fields.text(raw.get(key), f"`{key}`")
  if not said.strip():
    raise fields.BadRow(f"`{key}` is empty")
  found = building.build(raw, [{"role": "assistant", "content": said}], key)
  plain = dataclasses.replace(found, plain=True)
  object.__setattr__(plain, "unread", found.unread)
  return plain
