"""What a training run is, value by value: what may change when it goes on, and what would make it another run.

A value that steps already taken depend on is fixed. How far the run goes, when it is evaluated and saved, who is told,
and where it is computed do not change these steps, so they may change; every change is recorded in run.json.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import re
from typing import Any

from itune_jax.core import errors

# Fields of Train by which no step so far would be another. `mesh`, `remat` and `micro_batches` change the order of sums
# alone: results stay equal to rounding. What a mixture is, the prepared data says itself (`data_of`), wherever it lies.
FREE = frozenset(
  ("evals", "keep", "early_stop", "steps", "wandb_project", "debug_nans", "profile")
  + ("epochs", "mesh", "remat", "micro_batches", "mixture", "validation")
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def values_of(run: Any) -> dict[str, str]:
  """Every value of a run by its dotted name ("optimizer.schedule.rate"), as Python writes it."""
  return _flat("", run)


def changed(there: Mapping[str, str], run: Any) -> dict[str, tuple[str, str]]:
  """The values that differ from those recorded, (there, here) by name; "" where one has no such value.

  A value that has come into being since, and is at its default, does not differ.
  """
  here, defaults = values_of(run), _defaults("", run)
  names = sorted({*there, *here})
  return {
    name: (there.get(name, ""), here.get(name, ""))
    for name in names
    if there.get(name, defaults.get(name, "")) != here.get(name, "")
  }


def check(changes: Mapping[str, tuple[str, str]], run_dir: str) -> None:
  """Raises InputError, with the difference, when a change would make it another run."""
  fixed = [f"{n} = {a or '(none)'} there, {b or '(none)'} here" for n, (a, b) in changes.items() if not is_free(n)]
  if fixed:
    more = f" and {len(fixed) - 8} more" if len(fixed) > 8 else ""
    raise errors.InputError(
      f"{run_dir} holds a run of another configuration: {'; '.join(fixed[:8])}{more}. Take these values back, or give "
      "another --run_dir"
    )


def data_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
  """What a prepared mixture is: the rates of its sources and the key of each, which covers rows and rendering."""
  keys = {s["name"]: s["key"] for s in manifest["sources"]}
  return {"rates": dict(manifest["rates"]), "keys": keys, "measured": manifest.get("measured", {})}


def check_data(there: Mapping[str, Any], here: Mapping[str, Any], run_dir: str) -> None:
  """Raises InputError, naming files and rows, when a run would go on with other data, both of which are manifests, and
  when that of the run is damaged."""
  try:
    same = data_of(there) == data_of(here)
    differs = "" if same else "; ".join(_data_differs(there, here))
  except (AttributeError, LookupError, TypeError, ValueError):
    raise errors.InputError(f"{run_dir}/data.json: is no manifest of data (damaged?); use another --run_dir") from None
  if not same:
    raise errors.InputError(
      f"{run_dir} was trained on other data: {differs}. Bring back the data as they were, or give another --run_dir"
    )


def _data_differs(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
  before, now = ({s["name"]: s for s in manifest["sources"]} for manifest in (there, here))
  for name in sorted({*before, *now}):
    if name not in now or name not in before:
      yield f"source {name} is {'not here' if name in before else 'new'}"
    elif before[name]["key"] != now[name]["key"]:
      yield f"source {name}: {_source_differs(before[name], now[name])}"
  rates = ({name: round(rate, 4) for name, rate in manifest["rates"].items()} for manifest in (there, here))
  if there.get("measured", {}) != here.get("measured", {}):
    yield "what the rates of its sources follow (VAL_FRACTION, VAL_DATA) is another"
  if there["rates"] != here["rates"]:
    yield "rates {} there, {} here".format(*rates)


def _source_differs(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
  """How two manifests of one source differ, in what a person knows of it."""
  said = (
    ("path", "{} there, {} here"),
    ("rows", "{:,} rows there, {:,} here"),
    ("kept", "{:,} rows kept there, {:,} here"),
    ("tokenizer_sha256", "another tokenizer"),
    ("chat_template_sha256", "another chat template"),
  )
  pairs = ((text, there.get(key), here.get(key)) for key, text in said)
  differ = {text: pair for text, *pair in pairs if pair[0] != pair[1] and None not in pair}
  if said[1][1] in differ:  # fewer rows are fewer that are kept
    differ.pop(said[2][1], None)
  found = [text.format(*pair) for text, pair in differ.items()]
  before, now = there.get("rendering") or {}, here.get("rendering") or {}
  found += [f"{key} = {before[key]!r} there, {now[key]!r} here" for key in before if before[key] != now.get(key)]
  path = here.get("path", "")
  if not found:
    return f"the text of {path or 'its rows'} has changed" + (
      f" ({here['rows']:,} rows still)" if "rows" in here else ""
    )
  return ", ".join(found if there.get("path") != path else [path, *found] if path else found)


def is_free(name: str) -> bool:
  """Whether a value of this name may change when a run goes on."""
  return re.split(r"[.\[]", name)[0] in FREE


def _flat(name: str, value: Any) -> dict[str, str]:
  join = lambda part: f"{name}.{part}" if name else part
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    found = {join("type"): f"{type(value).__module__}.{type(value).__qualname__}"} if name else {}
    return found | _merged(_flat(join(f.name), getattr(value, f.name)) for f in dataclasses.fields(value))
  if isinstance(value, Mapping):
    return _merged(_flat(join(str(key)), one) for key, one in value.items())
  if isinstance(value, (list, tuple)) and any(dataclasses.is_dataclass(one) for one in value):
    return {f"{name}.count": str(len(value))} | _merged(_flat(f"{name}[{i}]", one) for i, one in enumerate(value))
  return {name: _ADDRESS.sub("", repr(list(value) if isinstance(value, tuple) else value))}


def _defaults(name: str, value: Any) -> dict[str, str]:
  """What the fields of dataclasses are by default, where that is a plain value."""
  join = lambda part: f"{name}.{part}" if name else part
  if isinstance(value, (list, tuple)):
    return _merged(_defaults(f"{name}[{i}]", one) for i, one in enumerate(value))
  if isinstance(value, Mapping):
    return _merged(_defaults(join(str(key)), one) for key, one in value.items())
  if not dataclasses.is_dataclass(value) or isinstance(value, type):
    return {}
  plain = {join(f.name): f.default for f in dataclasses.fields(value) if f.default is not dataclasses.MISSING}
  own = _merged(_flat(key, default) for key, default in plain.items())
  return own | _merged(_defaults(join(f.name), getattr(value, f.name)) for f in dataclasses.fields(value))


def _merged(parts) -> dict[str, str]:
  found: dict[str, str] = {}
  for part in parts:
    found |= part
  return found
