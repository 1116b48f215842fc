"""A YAML file of another tool as keys and values: what is ambiguous or grows without end is refused."""

from typing import Any

import yaml

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext

_MOST = 100_000  # values of a configuration, each as often as it is named: `*name` may multiply them


class _Loader(yaml.SafeLoader):
  """As PyYAML's, but a key that stands twice is an error, where PyYAML lets the last one stand."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
  seen: list[Any] = []
  for key, _ in node.value:
    if key.tag == "tag:yaml.org,2002:merge":
      continue
    name = loader.construct_object(key)
    if name in seen:
      raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key.start_mark)
    seen.append(name)
  loader.flatten_mapping(node)
  return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(path: str) -> dict[str, Any]:
  """The keys and values of a file, names with `_` for `-`. Raises InputError in one line for what has none."""
  check.require(files.is_file(path), f"{path}: there is no such file")
  try:
    with files.opened(path) as f:
      found = yaml.load(f, _Loader)  # noqa: S506  # a SafeLoader
  except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as e:
    why = "nested too deep" if isinstance(e, RecursionError) else jsontext.said(e)
    raise errors.InputError(f"{path}: is no YAML: {why}") from None
  check.require(isinstance(found, dict) and found, f"{path}: holds no keys and values")
  _require_small(path, found)
  flat: dict[str, Any] = {}
  for key, value in found.items():
    name = str(key).replace("-", "_")
    check.require(name not in flat, f"{path}: the key {name} stands twice, with `-` and with `_`")
    flat[name] = value
  return flat


def _require_small(path: str, value: Any) -> None:
  waiting, count = [value], 0
  while waiting:
    one = waiting.pop()
    count += 1
    check.require(count <= _MOST, f"{path}: holds more than {_MOST:,} values: no configuration is so large")
    waiting += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple, set)) else ()
