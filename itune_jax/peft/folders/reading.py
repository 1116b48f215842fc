"""What a PEFT folder's file holds, before any method is asked: whole, named, and in one line where it is not."""

from collections.abc import Iterator, Mapping
import contextlib
import os
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import tensors as tensors_lib
from itune_jax.peft.folders import codec


def tensors_of(folder: str) -> tuple[str, codec.Arrays]:
  """The file of an adapter, and its tensors, as float32 where they are no whole numbers."""
  path = os.path.join(folder, "adapter_model.safetensors")
  if not os.path.isfile(path):
    old = [name for name in files.names(folder) if name.endswith((".bin", ".pt", ".pth"))]
    pickle = f", only {old[0]}, a pickle, which is not read: load it with peft and save it again" if old else ""
    raise errors.InputError(f"{folder}: there is no adapter_model.safetensors{pickle}")
  tensors = tensors_lib.load(path)
  if not tensors:
    raise errors.InputError(f"{path} holds no tensors")
  if flat := [name for name, tensor in tensors.items() if not tensor.ndim]:
    raise errors.InputError(f"{path}: {flat[0]} is a single number, and no tensor of peft's")
  return path, {n: t if t.dtype.kind in "iub" else t.astype(np.float32) for n, t in tensors.items()}


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
  """What a method says of tensors that it cannot take, in one line with their file."""
  try:
    yield
  except errors.InputError as e:
    raise errors.InputError(str(e) if str(e).startswith(path) else f"{path}: {e}") from None
  except (IndexError, ValueError, TypeError, ZeroDivisionError, OverflowError) as e:
    raise errors.InputError(f"{path}: its tensors do not fit the method that adapter_config.json names ({e})") from None


def split(key: str, modules) -> tuple[str, str]:
  """The module that a tensor's key begins with, and the rest; ("", key) when there is none."""
  names = key.split(".")
  for i in range(len(names) - 1, 0, -1):
    if (module := ".".join(names[:i])) in modules:
      return module, ".".join(names[i:])
  return "", key


def token_ids(config: Mapping[str, Any], rows: codec.Arrays, where: str) -> list[int]:
  """Which tokens a folder's rows are of. Raises InputError unless each module has a row for each of the same ids."""
  ids = config.get("trainable_token_indices") or config.get("token_indices") or []
  lists = list(ids.values()) if isinstance(ids, dict) else [ids]
  if not lists or any(one != lists[0] for one in lists):
    raise errors.InputError(f"{where}: trainable_token_indices differ by module; supported are the same for all")
  if len(set(lists[0])) < len(lists[0]) or min(lists[0], default=0) < 0:
    raise errors.InputError(f"{where}: the ids of tokens are not each another one: {lists[0]}")
  if {len(tensor) for tensor in rows.values()} != {len(lists[0])}:
    there = sorted({len(tensor) for tensor in rows.values()})
    raise errors.InputError(f"{where}: {len(lists[0])} ids of tokens, and rows of {there or 'none'} in the file")
  return lists[0]
