"""Which modules a folder is about, by its config and by its tensors: both must say the same.

peft builds an adapter in every module that the config names and then fills in the file. A module without tensors would
stay as it was drawn, and tensors of another module would be left out: either is a folder that is not whole.
"""

from collections.abc import Collection, Iterable, Mapping
import re
from typing import Any

from itune_jax.core import errors


def check(
  config: Mapping[str, Any], found: Iterable[str], modules: Iterable[str], path: str, tied: Collection[str | None] = ()
) -> None:
  """Raises InputError, naming the module, unless exactly the modules that the config names have tensors.

  Args:
    found: modules with tensors of the method. modules: of the model. path: of the file of tensors. tied: modules that
      go together, as peft's `ensure_weight_tying` has it.
  """
  targets = config.get("target_modules")
  if targets is None or config.get("target_parameters"):
    return
  found = set(found)
  if isinstance(targets, str) and config.get("layers_to_transform") not in (None, []):
    raise errors.InputError(
      f"adapter_config.json: layers_to_transform chooses among names of modules, and target_modules is {targets!r}, "
      "which says all of it: peft takes one of both"
    )
  if config.get("layers_pattern") and config.get("layers_to_transform") is None:
    raise errors.InputError(
      "adapter_config.json: layers_pattern says which stacks of layers layers_to_transform counts in, and that is not "
      "there: peft refuses it too; take layers_pattern out, or name the layers"
    )
  if isinstance(targets, str) and targets.lower() == "all-linear":  # which are linear, only peft knows
    kinds = {_LAYER.sub(".*.", module) for module in found}  # of layers that are alike all are, or none
    _require_whole(found, {module for module in modules if _LAYER.sub(".*.", module) in kinds}, path)
    return
  named = {module for module in modules if is_target(config, module)}
  named |= {module for module in tied if module and named & set(tied)}
  if stray := sorted(found - named):
    raise errors.InputError(f"{path}: holds tensors of {stray[0]}, which target_modules and the like do not name")
  _require_whole(found, named, path)


_LAYER = re.compile(r"\.\d+\.")


def _require_whole(found: set[str], named: set[str], path: str) -> None:
  if bare := sorted(named - found):
    raise errors.InputError(
      f"{path}: holds no tensors of {bare[0]}, which target_modules names: the file is not whole; save it again"
    )


def is_target(config: Mapping[str, Any], module: str) -> bool:
  """Whether peft puts an adapter on this module (`tuners_utils.check_target_module_exists`)."""
  excluded, targets = config.get("exclude_modules") or [], config.get("target_modules") or []
  if re.fullmatch(excluded, module) if isinstance(excluded, str) else _ends(module, excluded):
    return False
  if is_saved(config, module):
    return False
  if isinstance(targets, str):
    return bool(re.fullmatch(targets, module))
  if module in targets:
    return True
  return _ends(module, targets) and _in_layers(config, module)


def is_saved(config: Mapping[str, Any], module: str) -> bool:
  """Whether modules_to_save names this module, or one that it is inside of."""
  saved = config.get("modules_to_save") or []
  return any(re.match(rf"(^|.*\.){name}($|\..*)", module) for name in ([saved] if isinstance(saved, str) else saved))


def _ends(module: str, names: Iterable[str]) -> bool:
  return any(module == name or module.endswith(f".{name}") for name in names)


def _in_layers(config: Mapping[str, Any], module: str) -> bool:
  layers = config.get("layers_to_transform")
  if layers is None or layers == []:
    return True
  stacks = config.get("layers_pattern") or [r"[^.]*"]
  for stack in [stacks] if isinstance(stacks, str) else stacks:
    if match := re.match(rf"(?:^|.*?\.){stack}\.(\d+)\.", module):
      return int(match[1]) in ([layers] if isinstance(layers, int) else layers)
  return False
