"""A sheet: what one page asks people. The page holds what they may see; all else stands in a key, a file of its own.

The digest of what the page shows names the sheet, and every answer bears it: so answers find their key, and those to
another page are told.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any, Literal, get_args

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files

Kind = Literal["answer", "rating", "label", "preference"]
KINDS = get_args(Kind)
TIE = "tie"
SIDES = ("1", "2")  # how the page and the answers call the sides of a pair
VERSION = 1
_MOST_VALUES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One thing that people are asked.

  turns: what is shown of the conversation, as (role, text). answer: the answer that is shown, or that one begins with.
  sides: of a preference, (system, text) of the first and of the second answer as they are shown. row: what becomes of
  it is made of this. gold: the value that is known to be right, of a control; None for all others. judges: what judges
  said already, by name, as a value of the sheet. harmful: whether texts are blurred until somebody asks for them.
  """

  id: str
  turns: tuple[tuple[str, str], ...]
  answer: str = ""
  sides: tuple[tuple[str, str], ...] = ()
  row: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  gold: str | float | None = None
  judges: Mapping[str, str | float] = dataclasses.field(default_factory=dict)
  harmful: bool = False

  def shown(self) -> dict[str, Any]:
    """What the page may hold of it: no row, no system, no gold."""
    own: dict[str, Any] = {"id": self.id, "turns": [list(turn) for turn in self.turns]}
    own |= {"answer": self.answer} if self.answer else {}
    own |= {"sides": [text for _, text in self.sides]} if self.sides else {}
    return own | ({"harmful": True} if self.harmful else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheet:
  """A page's questions. values: of labels, in the order of their keys; of ratings the whole numbers of the scale.
  origin: what it was made of, for the key alone: files with digests, the seed."""

  kind: Kind
  question: str
  values: tuple[str, ...]
  items: tuple[Item, ...]
  origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def shown(self) -> dict[str, Any]:
    """What the page holds, and its digest as `sheet`."""
    items = [item.shown() for item in self.items]
    own = {"kind": self.kind, "question": self.question, "values": list(self.values), "items": items}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
    return {"sheet": digest[:16], **own}

  @property
  def digest(self) -> str:
    """What names it."""
    return self.shown["sheet"]

  @property
  def scale(self) -> tuple[float, float]:
    """The least and the greatest rating."""
    return float(self.values[0]), float(self.values[-1])

  @property
  def systems(self) -> list[str]:
    """The names of what is compared, in their order of the alphabet."""
    return sorted({system for item in self.items for system, _ in item.sides})

  def to_key(self) -> dict[str, Any]:
    """All of it as JSON."""
    items = [
      {**dataclasses.asdict(item), "turns": [list(t) for t in item.turns], "sides": [list(s) for s in item.sides]}
      for item in self.items
    ]
    own = {"kind": self.kind, "question": self.question, "values": list(self.values), "origin": dict(self.origin)}
    return {"version": VERSION, "sheet": self.digest, **own, "items": items}


def read(path: str) -> Sheet:
  """The sheet of a key. Raises InputError for a file that is none, or that was changed."""
  given = files.read_object(path)
  if given.get("version") != VERSION or "sheet" not in given:
    raise errors.InputError(f"{path}: is no key of a page (key.json, which itune label writes beside it)")
  try:
    items = tuple(_item(one) for one in given["items"])
    sheet = Sheet(
      kind=given["kind"], question=given["question"], values=tuple(given["values"]), items=items, origin=given["origin"]
    )
  except (KeyError, TypeError, ValueError) as e:
    raise errors.InputError(f"{path}: is a damaged key ({type(e).__name__}: {e}); make the page anew") from None
  check.require(sheet.digest == given["sheet"], f"{path}: was changed since its page was made; make the page anew")
  return sheet


def _item(given: Mapping[str, Any]) -> Item:
  pairs = lambda name: tuple((str(a), str(b)) for a, b in given[name])
  return Item(**{**given, "turns": pairs("turns"), "sides": pairs("sides")})


def values(kind: Kind, labels: Sequence[str], scale: str) -> tuple[str, ...]:
  """The values that an answer may have, none of answers in words. Raises InputError for a set that is none."""
  if kind == "preference":
    return (*SIDES, TIE)
  if kind == "rating":
    parts = scale.split(",")
    whole = len(parts) == 2 and all(part.strip().lstrip("-").isdecimal() for part in parts)
    check.require(whole, f"--scale={scale}: write the least and the greatest rating, as in 1,5")
    low, high = map(int, parts)
    check.require(low < high <= low + 100, f"--scale={scale}: the first is less than the second, by 100 at the most")
    return tuple(str(one) for one in range(low, high + 1))
  if kind == "label":
    found = [name.strip() for name in labels]
    check.require(len(found) > 1 and all(found), "--labels names two labels or more, with commas between them")
    check.require(len(found) <= _MOST_VALUES, f"--labels: {len(found)} are more than a page can show")
    twice = sorted({name for name in found if found.count(name) > 1})
    check.require(not twice, f"--labels names {', '.join(twice)} twice")
    return tuple(found)
  return ()
