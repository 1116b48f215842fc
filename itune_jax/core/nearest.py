"""The name that was probably meant, for messages about one that is not there."""

from collections.abc import Iterable
import difflib

# Ratio of equal letters below which a suggestion would rather mislead than help.
_CLOSE = 0.66


def nearest(name: str, known: Iterable[str]) -> str:
  """The known name that is closest to this one, whatever its case and dashes; "" where none is close.

  A name that the given one begins (three letters or more) is close too: `--run` means `--run_dir`.
  """
  plain = {_plain(each): each for each in known}
  asked = _plain(name)
  if asked in plain:
    return plain[asked]
  if found := difflib.get_close_matches(asked, plain, 1, _CLOSE):
    return plain[found[0]]
  begun = sorted(each for each in plain if len(asked.strip("_")) >= 3 and each.startswith(asked))
  return plain[begun[0]] if begun else ""


def meant(name: str, known: Iterable[str], prefix: str = "; did you mean ") -> str:
  """The end of a message: "; did you mean NAME?", or nothing where no known name is close."""
  found = nearest(name, known)
  return f"{prefix}{found}?" if found else ""


def lacks(what: str, name: str, known: Iterable[str]) -> str:
  """The message of something that has no value of this name: the one that was probably meant, and all that it has."""
  known = list(known)
  hint = meant(name, known)
  return f"{what} has no {name!r}{f'{hint} It' if hint else '; it'} takes {', '.join(known)}"


def _plain(name: str) -> str:
  return name.lower().lstrip("-").replace("-", "_")
