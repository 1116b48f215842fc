"""Random keys by name. Everything derives from one root key; nothing depends on import or iteration order."""

import zlib

import jax


def root(seed: int) -> jax.Array:
  """The root key of a run."""
  return jax.random.key(seed)


def named(key: jax.Array, *names: str | int | jax.Array) -> jax.Array:
  """The key of a named stream: `named(key, "dropout", step)`. Strings are folded in by their CRC-32."""
  for name in names:
    key = jax.random.fold_in(key, stream(name) if isinstance(name, str) else name)
  return key


def stream(name: str) -> int:
  """The number that a name is folded in by."""
  return zlib.crc32(name.encode())
