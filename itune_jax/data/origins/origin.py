"""Where rows come from that are not in a file of their own, as a value; and how their fields become a row."""

import abc
import dataclasses
import importlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.data import fields

Row = dict[str, Any] | str  # a row in one of the formats (`readers.formats`), or why there is none
Mapped = Callable[[Mapping[str, Any]], Mapping[str, Any]]
IDS = "ids"  # the mapping that keeps the ids of a task as they are


class Part(NamedTuple):
  """One of the sources that an origin is: its name, its rate among them (of any sum), and its rows."""

  name: str
  rate: float
  rows: Iterator[Row]


class Asked(NamedTuple):
  """What SeqIO or TFDS is asked for: a name, its split, the folder of caches or data sets, a mapping."""

  called: str
  name: str
  split: str
  folder: str
  chat: str
  seed: ranges.Seed = 0
  lengths: Mapping[str, int] = types.MappingProxyType({})


class Origin(abc.ABC):
  """A frozen value that says where rows are read. `itune prepare` reads them once (`pins`); training reads what that
  kept, so an origin may need what training must not import. A subclass is a frozen dataclass of JSON values."""

  @property
  @abc.abstractmethod
  def called(self) -> str:
    """What messages call it."""

  @abc.abstractmethod
  def parts(self) -> Iterator[Part]:
    """Its sources, one after the other; the rows of one are read before the next is asked for."""

  def spec(self) -> dict[str, Any]:
    """What tells it from other origins, as JSON."""
    kind = type(self)
    return {"kind": f"{kind.__module__}.{kind.__qualname__}", **dataclasses.asdict(self)}  # pyright: ignore


def mapping(name: str) -> Mapped:
  """The mapping from the fields of a task or data set to a row in one of the formats.

  inputs_targets: the texts `inputs` (asked) and `targets` (answered), and a loss weight. ids: the ids of both as they
  are, for a task whose vocabulary is the model's. rows: the fields are those of a format. json: the field `row` holds
  such a row as JSON text. Or `module:function` of the
  user's own, which gets the fields (texts as text) and returns such a row. Raises InputError for another name.
  """
  if name in MAPPINGS:
    return MAPPINGS[name]
  module, _, function = name.partition(":")
  if not module or not function:
    known = ", ".join(MAPPINGS)
    raise errors.InputError(f"chat = {name!r}: mappings are {known}, or your own as 'module:function'")
  return imported(name, "chat")


def imported(name: str, what: str) -> Any:
  """What a name `module:attribute` of the user's stands for. Raises InputError in one line."""
  module, _, attribute = name.partition(":")
  try:
    found = importlib.import_module(module).__dict__.get(attribute)
  except ModuleNotFoundError as e:
    raise errors.InputError(f"{what} = {name!r}: {e}; name the module with --import={module}") from None
  if not callable(found):
    raise errors.InputError(f"{what} = {name!r}: {module} has no function {attribute}")
  return found


def register(modules: Sequence[str]) -> None:
  """Imports modules of the user's own that register tasks. Raises InputError in one line for one that cannot be."""
  for name in modules:
    try:
      importlib.import_module(name)
    except errors.InputError:
      raise
    except Exception as e:  # whatever the user's module raises
      raise errors.InputError(f"import {name}: {type(e).__name__}: {e}") from e


def mapped(how: Mapped, given: Mapping[str, Any]) -> Row:
  """The row of these fields, or why there is none."""
  try:
    found = how(given)
  except fields.BadRow as e:
    return str(e)
  if not isinstance(found, Mapping):
    return f"the mapping gave {type(found).__name__}; it must give an object"
  return {str(key): value for key, value in found.items()}


def plain(value: Any) -> Any:
  """A value as JSON has it: arrays as lists, bytes as text. Raises BadRow for bytes that are no text."""
  if isinstance(value, bytes):
    try:
      return value.decode()
    except UnicodeDecodeError:
      raise fields.BadRow("it holds bytes that are no UTF-8") from None
  if isinstance(value, np.ndarray):
    return plain(value.tolist())
  if isinstance(value, np.generic):
    return plain(value.item())
  if isinstance(value, Mapping):
    return {str(key): plain(one) for key, one in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(one) for one in value]
  return value


WEIGHTS = ("targets_loss_weights", "decoder_loss_weights", "loss_weights", "loss_weight", "weight")


def _weights(given: Mapping[str, Any]) -> list[float] | None:
  """The loss weights of the targets, or one for all; None where there are none. Raises BadRow for two of them."""
  named = [name for name in WEIGHTS if given.get(name) is not None]
  if len(named) > 1:
    raise fields.BadRow(f"it has loss weights under {' and '.join(named)}")
  if not named:
    return None
  value = given[named[0]]
  return [fields.number(one, f"`{named[0]}`") for one in (value if isinstance(value, list) else [value])]


def _inputs_targets(given: Mapping[str, Any]) -> Mapping[str, Any]:
  asked, answer = given.get("inputs"), given.get("targets")
  for name, value in (("inputs", asked), ("targets", answer)):
    if not isinstance(value, str):
      raise fields.BadRow(f"its `{name}` are no text: it has {', '.join(sorted(given))}; name another mapping (chat)")
  if not str(asked).strip():
    raise fields.BadRow("its `inputs` are empty: there is no question (chat = 'ids' trains on targets alone)")
  weights = _weights(given)
  if weights and len(set(weights)) > 1:
    raise fields.BadRow("its loss weights differ within the targets, which only chat = 'ids' keeps")
  turn = {"role": "assistant", "content": answer, **({"weight": weights[0]} if weights else {})}
  return {"messages": [{"role": "user", "content": asked}, turn]}


def _ids(given: Mapping[str, Any]) -> Mapping[str, Any]:
  parts = {name: given.get(f"{name}_ids") or [] for name in ("inputs", "targets")}
  for name, value in parts.items():
    if not isinstance(value, Sequence) or not all(isinstance(one, int) and one >= 0 for one in value):
      raise fields.BadRow(f"its `{name}` are no ids; chat = 'inputs_targets' takes texts")
  targets, weights = list(parts["targets"]), _weights(given) or [1.0]
  if len(weights) not in (1, len(targets)):
    raise fields.BadRow(f"it has {len(weights)} loss weights for {len(targets)} targets")
  weights = weights * len(targets) if len(weights) == 1 else weights
  text = given.get("targets") if isinstance(given.get("targets"), str) and all(weights) else ""
  return {"ids": [*parts["inputs"], *targets], "weights": [0.0] * len(parts["inputs"]) + weights, "text": text}


def _rows(given: Mapping[str, Any]) -> Mapping[str, Any]:
  return given


def _json(given: Mapping[str, Any]) -> Mapping[str, Any]:
  return fields.decoded(given.get("row"), "`row`", dict)


MAPPINGS: dict[str, Mapped] = {"inputs_targets": _inputs_targets, IDS: _ids, "rows": _rows, "json": _json}
