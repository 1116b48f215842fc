"""What `--data` says in one text: `a.parquet,b.jsonl@0.3`, `seqio:NAME`, `tfds:NAME/CONFIG:VERSION[train[:90%]]`."""

import math
import os
import re
from typing import NamedTuple

from itune_jax.core import errors

SCHEMES = ("seqio", "tfds", "grain")
_RATE = re.compile(r"(?P<what>.+)@(?P<rate>[0-9.eE+-]+)")
_NUMBER = re.compile(r"[0-9.eE+-]+")
_TFDS = re.compile(r"(?P<name>[\w.]+(/[^\[\]:]+)?(:[\d.*]+)?)(\[(?P<split>.+)\])?")


class One(NamedTuple):
  """One source of the text: its kind ("path", "seqio", "tfds", "grain"), what it is, its split, its share."""

  kind: str
  what: str
  split: str = ""
  share: float | None = None


def read(text: str) -> list[One]:
  """The sources of a text. One that is a file, or has neither a comma nor a scheme nor a rate, is one path.

  Sources stand between commas. `@0.3` behind one is its share of what is drawn; those without share the rest evenly.
  Raises InputError in one line for a share that is none, shares beyond 1 beside a source without, and empty parts.
  """
  if os.path.exists(text):
    return [One("path", text)]
  found = [_one(part.strip(), text) for part in _parts(text)]
  given = [one.share for one in found if one.share is not None]
  if not given:
    return found
  rest = len(found) - len(given)
  if rest and sum(given) >= 1:
    raise errors.InputError(
      f"{text}: the shares of some sources are {sum(given):g}, and nothing is left for the others"
    )
  each = (1 - sum(given)) / rest if rest else 0.0
  return [one._replace(share=each if one.share is None else one.share) for one in found]


def name(one: One) -> str:
  """What a source is called in figures: the file's name without its endings, or that of the task."""
  if one.kind == "path":
    base = os.path.basename(one.what.rstrip("/")) or one.what
    return base.split(".")[0] or base
  if one.kind == "tfds":
    return re.split(r"[/:]", one.what)[0]
  return one.what.rpartition(":")[2]


def _parts(text: str) -> list[str]:
  """The text between commas that stand in no brackets: a slice of TFDS may hold some, and a glob."""
  parts, depth = [""], 0
  for letter in text:
    depth += (letter in "[{") - (letter in "]}")
    if letter == "," and not depth:
      parts.append("")
    else:
      parts[-1] += letter
  return parts


def _one(part: str, text: str) -> One:
  if not part:
    raise errors.InputError(f"{text}: a source is empty: there is a comma too many")
  share = None
  if (rated := _RATE.fullmatch(part)) and not os.path.exists(part):
    part, share = rated["what"].strip(), _share(rated["rate"], text)
    if _RATE.fullmatch(part):
      raise errors.InputError(f"{text}: {part}@{rated['rate']} has two shares; a source has one")
  elif "@" in part and not os.path.exists(part) and "/" not in (given := part.rpartition("@")[2]):
    _share(given, text)
  scheme, colon, rest = part.partition(":")
  if not colon or scheme not in SCHEMES:
    return One("path", part, "", share)
  if not rest:
    raise errors.InputError(f"{part}: name what is read behind {scheme}:")
  if scheme != "tfds":
    return One(scheme, rest, "", share)
  found = _TFDS.fullmatch(rest)
  if found is None:
    raise errors.InputError(f"{part}: write it as tfds:NAME, tfds:NAME/CONFIG:VERSION or tfds:NAME[train[:90%]]")
  return One(scheme, found["name"], found["split"] or "", share)


def _share(given: str, text: str) -> float:
  try:
    share = float(given) if _NUMBER.fullmatch(given) else math.nan
  except ValueError:
    share = math.nan
  if not 0 < share < math.inf:
    raise errors.InputError(f"{text}: the share @{given} must be a positive number, as @0.3")
  return share
