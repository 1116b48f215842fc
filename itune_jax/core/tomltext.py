"""TOML files as values, or one line why a file is none."""

import tomllib
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext


def read(path: str) -> dict[str, Any]:
  """The table that a file holds, which may begin with the mark of UTF-8. Raises InputError in one line."""
  try:
    with files.opened(path, "rb") as f:
      return tomllib.loads(f.read().decode("utf-8-sig"))
  except OSError as e:
    raise errors.InputError(f"{path}: cannot be read ({files.said(e)})") from None
  except UnicodeDecodeError as e:
    raise errors.InputError(f"{path}: is no UTF-8 text ({jsontext.said(e)})") from None
  except (ValueError, RecursionError) as e:  # also a whole number of too many digits
    why = "nested too deep" if isinstance(e, RecursionError) else jsontext.said(e)
    raise errors.InputError(f"{path}: is no TOML ({why})") from None
