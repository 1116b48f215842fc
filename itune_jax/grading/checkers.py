"""How an answer is judged. A check is data on the example, `{"name": …, …}`; the functions are here."""

from collections.abc import Callable, Mapping
import json
import re
from typing import Any

from itune_jax.core import errors


def exact(output: str, check: Mapping[str, Any]) -> bool:
  """The answer to the letter, but for white space at the ends."""
  return output.strip() == str(check["answer"]).strip()


def any_of(output: str, check: Mapping[str, Any]) -> bool:
  """One of the answers, after the normalisation of Super-NaturalInstructions: lower case, no punctuation."""
  return any(_normalise(output) == _normalise(answer) for answer in check["answers"])


def json_equal(output: str, check: Mapping[str, Any]) -> bool:
  """The same JSON value as the answer, whatever the spacing and the order of keys."""
  try:
    return json.loads(output) == json.loads(check["answer"])
  except ValueError:
    return False


_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def final_number(output: str, check: Mapping[str, Any]) -> bool:
  """The number behind `####`, or the last number of the text, equals that of the answer (GSM8K)."""
  got, want = _last_number(output), _last_number(str(check["answer"]))
  return got is not None and got == want


CHECKERS: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
  "exact": exact,
  "any_of": any_of,
  "json": json_equal,
  "final_number": final_number,
}


def known(name: Any) -> None:
  """Raises InputError for the name of a check that there is not."""
  if name not in CHECKERS:
    raise errors.InputError(f"unknown check {name!r}; checks are {', '.join(CHECKERS)}")


def judge(output: str, check: Mapping[str, Any]) -> bool:
  """Whether an output passes its check. Raises InputError for an unknown check."""
  known(check.get("name"))
  return CHECKERS[check["name"]](output, check)


def _normalise(text: str) -> str:
  return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def _last_number(text: str) -> float | None:
  behind = text.rsplit("####", 1)
  numbers = _NUMBER.findall(behind[1]) if len(behind) == 2 else _NUMBER.findall(text)
  if not numbers:
    return None
  return float((numbers[0] if len(behind) == 2 else numbers[-1]).replace(",", ""))
