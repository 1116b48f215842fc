"""What a run says of itself: who was asked under which licence, with which prompts, from what, at which cost; and how
many candidates were kept and dropped for which reason."""

from collections.abc import Mapping
import dataclasses
import hashlib
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.sampling import requests as requests_lib
from itune_jax.synth import generator as generator_lib
from itune_jax.synth import ledger as ledger_lib
from itune_jax.synth import samplers
from itune_jax.synth import sources

NOT_STATED = "not stated"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
  """Who is asked, and on which terms: it stands in the provenance of every row.

  name: of the model. licence: under which its output may be used. price_prompt, price_answer: of a million tokens read
  and written, in whatever currency.
  """

  name: str = NOT_STATED
  licence: str = NOT_STATED
  price_prompt: float = 0.0
  price_answer: float = 0.0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.name.strip() and self.licence.strip(), "Teacher.name and Teacher.licence are not empty")
    check.require(self.price_prompt >= 0 and self.price_answer >= 0, "Teacher.price_prompt, price_answer are >= 0")


def identity(generator: generator_lib.Generator, teacher: Teacher) -> dict[str, Any]:
  """What else makes a run what it is: the generator's values, the teacher, the bytes of the files that are read."""
  return {
    "generator": {"class": type(generator).__name__, **values(generator)},
    "teacher": {"name": teacher.name, "licence": teacher.licence},
    "parents": [sources.identity(path) for path in generator.inputs],
  }


def values(value: Any) -> Any:
  """A frozen value as JSON."""
  if isinstance(value, requests_lib.Responder):
    return dict(value.settings)
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {field.name: values(vars(value)[field.name]) for field in dataclasses.fields(value)}
  if isinstance(value, Mapping):
    return {str(name): values(one) for name, one in value.items()}
  if isinstance(value, (list, tuple)):
    return [values(one) for one in value]
  return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def of(
  generator: generator_lib.Generator,
  ledger: ledger_lib.Ledger,
  given: Mapping[str, Any],
  teacher: Teacher,
  limits: Mapping[str, int],
  ended: str,
) -> dict[str, Any]:
  """The manifest of a run as it stands. Money and tokens are of the items that are booked."""
  cost = ledger.cost
  spent = (cost.prompt * teacher.price_prompt + cost.answer * teacher.price_answer) / 1e6
  told = [jsontext.dumps(row, sort_keys=True) for row in ledger.rows]
  prompts = {name: {"sha256": _digest(text), "text": text} for name, text in sorted(generator.prompts.items())}
  return {
    **given,
    **identity(generator, teacher),
    "limits": dict(limits),
    "ended": ended,
    "items": ledger.next,
    "candidates": ledger.candidates,
    "rows": len(ledger.rows),
    "dropped": dict(sorted(ledger.dropped.items())),
    "requests": cost.requests,
    "tokens": {"prompt": cost.prompt, "answer": cost.answer, "requests_untold": cost.untold},
    "cost": round(spent, 6),
    "refused_inputs": {path: sources.read(path).refused for path in generator.reads},
    "spread": samplers.spread(ledger.rows),
    "prompts": prompts,
    "rows_sha256": _digest("\n".join(told)),
  }


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
