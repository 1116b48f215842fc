"""What config.json says of rotary positions, in both directions, in today's spelling and in the older ones."""

from collections.abc import Callable, Iterator, Mapping
import math
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.nn import rope as rope_lib

_TYPES = {
  "default": "none",
  "linear": "linear",
  "dynamic": "dynamic",
  "yarn": "yarn",
  "longrope": "longrope",
  "su": "longrope",
  "llama3": "llama3",
}
_KEYS = {
  "low_freq_factor": "low_freq_factor",
  "high_freq_factor": "high_freq_factor",
  "beta_fast": "beta_fast",
  "beta_slow": "beta_slow",
  "truncate": "truncate",
  "attention_factor": "attention_factor",
  "short_factor": "short_factor",
  "long_factor": "long_factor",
}
_FLOATS = ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor")
_OF = {
  "none": (),
  "linear": ("factor",),
  "dynamic": ("factor",),
  "yarn": ("factor", "beta_fast", "beta_slow", "truncate", "attention_factor", "original"),
  "longrope": ("factor", "short_factor", "long_factor", "attention_factor", "original"),
  "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original"),
}
# What a kind cannot do without; the others have a value that their paper or transformers prescribes.
_NEEDED = {
  "linear": ("factor",),
  "dynamic": ("factor",),
  "yarn": ("factor",),
  "longrope": ("short_factor", "long_factor"),
  "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}


def _number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _whole(value: Any) -> bool:
  return type(value) is int and 0 < value < 2**31


def _numbers(value: Any) -> bool:
  return isinstance(value, list) and bool(value) and all(map(_number, value))


_SAID: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
  (
    "rope_theta rope_local_base_freq rotary_emb_base factor low_freq_factor high_freq_factor",
    _number,
    "is a number > 0",
  ),
  ("beta_fast beta_slow attention_factor mscale mscale_all_dim", _number, "is a number > 0"),
  ("partial_rotary_factor rotary_pct", lambda value: _number(value) and value <= 1, "is a share in (0, 1]"),
  ("original_max_position_embeddings", _whole, "is a whole number > 0"),
  ("short_factor long_factor", _numbers, "is a list of numbers > 0"),
  ("truncate", lambda value: isinstance(value, bool), "is true or false"),
  ("type rope_type", lambda value: isinstance(value, str) and value in _TYPES, f"are {', '.join(_TYPES)}"),
)
_KINDS = {key: (fits, say) for words, fits, say in _SAID for key in words.split()}
# Where a value may stand outside of the object, and what is then said twice.
_OUTSIDE = {
  "rope_theta": ("rope_theta", "rotary_emb_base"),
  "partial_rotary_factor": ("partial_rotary_factor", "rotary_pct"),
}


def check(config: Mapping[str, Any], read: frozenset[str], turns_part: bool, where: str) -> None:
  """Before transformers sees a config.json, which takes what it cannot use with a warning at most.

  Args:
    read: the keys that are read of its family. turns_part: whether a part of each head may turn there.

  Raises InputError for values that cannot be, for what a kind of scaling lacks, and for two that contradict each other.
  """
  found = {
    key: config[key] for key in ("rope_parameters", "rope_scaling") if key in read and config.get(key) is not None
  }
  for key, value in found.items():
    if not isinstance(value, Mapping):
      raise errors.InputError(f"{where}: {key} is {jsontext.shown(value)}; an object is expected")
    _check_nesting(key, value, "rope_local_base_freq" in read, where)
  parts = [part for key in found for part in _parts(key, found[key])]
  for name, part in (("", {key: config[key] for key in config if key in read}), *parts):
    _check_values(name, part, where)
  for name, part in parts:
    _check_part(name, part, where)
  _check_agreement(config, parts, read, where)
  shares = [(key, config.get(key)) for key in _OUTSIDE["partial_rotary_factor"] if key in read]
  shares += [(f"{name}partial_rotary_factor", part.get("partial_rotary_factor")) for name, part in parts]
  for key, value in shares if not turns_part else ():
    if value not in (None, 1):
      raise errors.InputError(f"{where}: {key} is {value!r}; supported is 1: {config['model_type']} turns whole heads")


def _parts(key: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """(name, values) of an object, or of each kind of layers that it tells apart."""
  inner = {name: value for name, value in found.items() if isinstance(value, Mapping)}
  yield from ((f"{key}.{name}.", value) for name, value in inner.items())
  if not inner:
    yield f"{key}.", found


def _check_nesting(key: str, found: Mapping[str, Any], by_layer: bool, where: str) -> None:
  """Raises InputError for objects inside, where a family has one rotary table, and for values beside them elsewhere."""
  wants = by_layer and key == "rope_parameters"
  for name, value in found.items():
    if wants and not (name in ("full_attention", "sliding_attention") and isinstance(value, (Mapping, type(None)))):
      raise errors.InputError(
        f"{where}: {key}.{name} is {jsontext.shown(value)}; objects full_attention and sliding_attention are expected"
      )
    if not wants and isinstance(value, Mapping):
      raise errors.InputError(f"{where}: {key}.{name} is an object; this family has one table for all layers")


def _check_values(name: str, part: Mapping[str, Any], where: str) -> None:
  for key, value in part.items():
    fits, say = _KINDS.get(key, (None, ""))
    if name == "" and key in ("type", "rope_type"):  # none of its keys
      continue
    absent = value is None and (name or key in ("partial_rotary_factor", "original_max_position_embeddings"))
    if fits is not None and not absent and not fits(value):
      raise errors.InputError(f"{where}: {name}{key} is {jsontext.shown(value)}; supported {say}")


def _check_part(name: str, part: Mapping[str, Any], where: str) -> None:
  kind = _kind(part)
  if None not in (part.get("type"), part.get("rope_type")) and _TYPES[part["type"]] != _TYPES[part["rope_type"]]:
    raise errors.InputError(f"{where}: {name}type is {part['type']!r}, and {name}rope_type {part['rope_type']!r}")
  missing = [key for key in _NEEDED.get(kind, ()) if part.get(key) is None]
  if missing:
    raise errors.InputError(f"{where}: {name}{missing[0]} is missing, which scaling by {kind} needs")
  if kind == "llama3" and not part["high_freq_factor"] > part["low_freq_factor"]:
    raise errors.InputError(f"{where}: {name}high_freq_factor must be above {name}low_freq_factor")
  strange = sorted(set(part) - set(_KINDS))
  if strange:
    log.info(f"{where}: not read of {name[:-1]}, as in transformers: {', '.join(strange)}")


def _kind(part: Mapping[str, Any]) -> str:
  return _TYPES[part.get("rope_type") or part.get("type") or "default"]


def _check_agreement(config, parts, read: frozenset[str], where: str) -> None:
  """Raises InputError where two places say different things: transformers takes one of them without a word."""
  said: dict[tuple[str, str], tuple[str, Any]] = {}
  local = {"rope_theta": ("rope_local_base_freq",)}
  for name, part in parts:
    of = "local" if ".sliding_attention." in name else ""
    outside = local if of else _OUTSIDE
    values = {**part, "rope_type": _kind(part)} if part else {}
    pairs = [(key, f"{name}{key}", value) for key, value in values.items() if key != "type"]
    pairs += [(key, place, config.get(place)) for key, places in outside.items() for place in places if place in read]
    for key, place, value in pairs:
      if value is None:
        continue
      before = said.setdefault((of, key), (place, value))
      if before[1] != value:
        raise errors.InputError(f"{where}: {before[0]} is {before[1]!r}, and {place} is {value!r}: take one away")


def from_hf(found: Mapping[str, Any], full: Mapping[str, Any]) -> rope_lib.Rope:
  """The rotary positions of an object that `check` has seen and transformers has completed. full: the whole config."""
  kind = _kind(found)
  fields: dict[str, Any] = {
    "base": float(found["rope_theta"]),
    "partial": float(1 if found.get("partial_rotary_factor") is None else found["partial_rotary_factor"]),
  }
  if kind == "none":
    return rope_lib.Rope(**fields)
  longest = full["max_position_embeddings"]
  original = found.get("original_max_position_embeddings") or full.get("original_max_position_embeddings")
  fields |= {"original_length": int(longest if kind in ("linear", "dynamic") else original or longest)}
  fields |= {"factor": float(found.get("factor") or longest / fields["original_length"])}
  for ours, theirs in _KEYS.items():
    if found.get(theirs) is not None:
      fields[ours] = tuple(map(float, found[theirs])) if ours.startswith(("short", "long")) else found[theirs]
  if kind == "yarn" and "attention_factor" not in fields and found.get("mscale") and found.get("mscale_all_dim"):
    size = lambda m: 0.1 * m * math.log(fields["factor"]) + 1 if fields["factor"] > 1 else 1.0
    fields["attention_factor"] = size(found["mscale"]) / size(found["mscale_all_dim"])
  fields = {k: float(v) if isinstance(v, int) and k in _FLOATS else v for k, v in fields.items()}
  return rope_lib.Rope(scaling=kind, **fields)  # pyright: ignore[reportArgumentType]


def _rope_to_hf(rope: rope_lib.Rope) -> dict[str, Any]:
  found: dict[str, Any] = {"rope_type": "default" if rope.scaling == "none" else rope.scaling, "rope_theta": rope.base}
  for name in _OF[rope.scaling]:
    if name == "original":
      found["original_max_position_embeddings"] = rope.original_length
    elif name != "attention_factor" or rope.attention_factor:
      value = getattr(rope, name)
      found[name] = list(value) if isinstance(value, tuple) else value
  if rope.partial != 1:
    found["partial_rotary_factor"] = rope.partial
  return found


def to_hf(cfg: Any) -> dict[str, Any]:
  """The rotary positions of a decoder: today's key, and beside it the ones that versions before 5 read."""
  rope = _rope_to_hf(cfg.rope)
  scaling = {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor")}
  older = {"rope_theta": cfg.rope.base, "rope_scaling": None if cfg.rope.scaling == "none" else scaling}
  if cfg.local_rope is not None:
    nested = {"full_attention": rope, "sliding_attention": _rope_to_hf(cfg.local_rope)}
    return {"rope_parameters": nested, "rope_theta": cfg.rope.base, "rope_local_base_freq": cfg.local_rope.base}
  if cfg.family == "gpt_neox":
    return {"rope_parameters": rope, "rotary_pct": cfg.rope.partial, "rotary_emb_base": cfg.rope.base}
  if cfg.rope.scaling == "longrope":
    older["original_max_position_embeddings"] = cfg.rope.original_length
  if cfg.rope.partial != 1:
    older["partial_rotary_factor"] = cfg.rope.partial
  if cfg.rope.scaling in ("longrope", "yarn"):  # the older key would shadow the newer one and lose what it lacks
    older.pop("rope_scaling")
  return {"rope_parameters": rope, **older}
