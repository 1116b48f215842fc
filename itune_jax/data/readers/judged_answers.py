"""The formats `unpaired` (KTO) and `text`, which are told by name alone: rows of them may be instruction data too.

`unpaired`: an answer and whether it is a good one, with no other to compare it with: `prompt`, `completion` and `label`
(true or false), as TRL has it; or the last turn of any other format, and the row's `label`. `text`: raw text for
continued pretraining, `text` (or `content`), around which no template is put.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import building
from itune_jax.data.readers import formats

LABELS = ("label", "kto_tag")


def unpaired(raw: Mapping[str, Any]) -> example_lib.Example:
  """An example whose last message is the answer that its `label` judges. Raises BadRow by name."""
  given = {key: raw[key] for key in LABELS if not fields.is_null(raw.get(key))}
  if not given:
    raise fields.BadRow("it has no `label`: an answer is judged by true or false")
  if len(given) > 1:
    raise fields.BadRow(f"it has both {' and '.join(f'`{key}`' for key in given)}")
  key, label = next(iter(given.items()))
  if not isinstance(label, bool) and not (type(label) is int and label in (0, 1)):
    raise fields.BadRow(f"`{key}` is {jsontext.shown(label)}; it must be true or false")
  read = formats.plainly({name: value for name, value in raw.items() if name not in LABELS})
  if read.messages[-1]["role"] != "assistant":
    raise fields.BadRow("its last message is not an answer: there is nothing that `label` could judge")
  for i, message in enumerate(read.messages[:-1]):
    if message.get("weight"):
      raise fields.BadRow(f"message {i} has weight {message['weight']:g}: of a judged row the last answer alone counts")
  asked = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in read.messages[:-1]]
  found = dataclasses.replace(read, messages=(*asked, read.messages[-1]), label=bool(label))
  object.__setattr__(found, "unread", read.unread)
  return found


def text(raw: Mapping[str, Any]) -> example_lib.Example:
  """An example whose one message is the text. Raises BadRow."""
  key = "text" if building.holds(raw, "text") or "content" not in raw else "content"
  said = fields.text(raw.get(key), f"`{key}`")
  if not said.strip():
    raise fields.BadRow(f"`{key}` is empty")
  found = building.build(raw, [{"role": "assistant", "content": said}], key)
  plain = dataclasses.replace(found, plain=True)
  object.__setattr__(plain, "unread", found.unread)
  return plain
