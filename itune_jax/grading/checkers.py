"""How an answer is judged. A check is data on the example, `{"name": …, …}`; the checkers are here, or a user's own.

| name           | its keys           | an output passes                                                              |
|----------------|--------------------|-------------------------------------------------------------------------------|
| `exact`        | `answer`: text     | to the letter, but for white space at the ends                                |
| `any_of`       | `answers`: texts   | one of them, but for case, punctuation and spacing (`normal`)                 |
| `contains`     | `answer`: text     | its words stand in the output one behind the other, normalised so             |
| `json`         | `answer`: a value, | the same JSON value with its types, whatever the spacing and order of keys    |
|                | or JSON text of it |                                                                               |
| `final_number` | `answer`: a number | the number behind `####`, or the last one, is that of the answer (`numbers`)  |
|                | or text with one   |                                                                               |
| `ifeval`       | `instruction_id_list`, | every instruction of IFEval is followed, strictly (`ifeval.kinds`)        |
|                | `kwargs`: lists    |                                                                               |

Besides, any check may have `choices` (texts, of which `answer` is one) for multiple choice. An own checker is a
`Checker`, or a function (output, check) -> bool, named by where it is imported from, `my_module:my_checker`; a run says
which of these its rows may name.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.grading import normal
from itune_jax.grading import numbers
from itune_jax.grading.ifeval import kinds
from itune_jax.grading.ifeval import verdicts

Check = Mapping[str, Any]
_SHARED = ("name", "choices")


class Checker(abc.ABC):
  """Judges outputs. keys: what its checks may hold besides `name` and `choices`; None for anything."""

  keys: tuple[str, ...] | None = None

  @abc.abstractmethod
  def __call__(self, output: str, check: Check) -> bool:
    """Whether an output passes."""

  def problem(self, check: Check) -> str:
    """What is wrong with a check, "" where nothing is. It is asked when items are read."""
    del check
    return ""


@dataclasses.dataclass(frozen=True)
class Function(Checker):
  """A checker made of functions: how to judge, and what is wrong with a check."""

  judge: Callable[[str, Check], Any]
  asks: Callable[[Check], str] = lambda check: ""
  keys: tuple[str, ...] | None = None

  def __call__(self, output: str, check: Check) -> bool:
    """Whether an output passes."""
    return bool(self.judge(output, check))

  def problem(self, check: Check) -> str:
    """What is wrong with a check."""
    return self.asks(check)


def exact(output: str, check: Check) -> bool:
  """The answer to the letter, but for white space at the ends."""
  return output.strip() == str(check["answer"]).strip()


def any_of(output: str, check: Check) -> bool:
  """One of the answers, after the normalisation of Super-NaturalInstructions: lower case, no punctuation."""
  return any(normal.same(output, answer) for answer in check["answers"])


def contains(output: str, check: Check) -> bool:
  """The words of the answer stand in the output."""
  return normal.contains(output, check["answer"])


def json_equal(output: str, check: Check) -> bool:
  """The same JSON value as the answer, types included, whatever the spacing and the order of keys."""
  try:
    return jsontext.same(jsontext.loads(output, finite=True), _json_answer(check))
  except ValueError:
    return False


def final_number(output: str, check: Check) -> bool:
  """The number behind `####`, or the last number of the text, equals that of the answer (GSM8K)."""
  got = numbers.final(output)
  return got is not None and got == numbers.final(str(check["answer"]))


def follows(output: str, check: Check) -> bool:
  """Every instruction of IFEval that the check lists, strictly."""
  return all(verdicts.judge(_instructions(check), output).strict)


def _instructions(check: Check) -> list[Any]:
  pairs = zip(check["instruction_id_list"], check["kwargs"], strict=True)
  return [kinds.build(kind, kwargs) for kind, kwargs in pairs]


def _instructions_problem(check: Check) -> str:
  lists = [one for key in ("instruction_id_list", "kwargs") if isinstance(one := check.get(key), (list, tuple))]
  if len(lists) != 2 or not lists[0] or len(lists[0]) != len(lists[1]):
    return "check.instruction_id_list and check.kwargs must be lists of one length, not empty"
  try:
    _instructions(check)
  except errors.InputError as e:
    return str(e)
  return ""


def _text_answer(check: Check) -> str:
  answer = check.get("answer")
  if isinstance(answer, str) and not answer.strip():
    return "check.answer is empty: every output would pass, or none; say what is right"
  return "" if isinstance(answer, str) else _lacks(check, "answer", "text")


def _exact_answer(check: Check) -> str:
  is_whole = isinstance(check.get("answer"), int) and not isinstance(check["answer"], bool)
  return "" if is_whole else _text_answer(check)


def _text_answers(check: Check) -> str:
  answers = check.get("answers")
  if not (isinstance(answers, (list, tuple)) and answers and all(isinstance(one, str) for one in answers)):
    return _lacks(check, "answers", "a list of texts")
  is_whole = all(one.strip() for one in answers)
  return "" if is_whole else "check.answers has an empty one: an output that says nothing would pass; leave it out"


def _json_problem(check: Check) -> str:
  if "answer" not in check:
    return _lacks(check, "answer", "a JSON value, or JSON text of one")
  try:
    _json_answer(check)
  except ValueError as e:
    return f"check.answer {jsontext.shown(check['answer'])} is no JSON ({e})"
  return ""


def _number_problem(check: Check) -> str:
  answer = check.get("answer")
  if not isinstance(answer, (str, int, float)) or isinstance(answer, bool):
    return _lacks(check, "answer", "a number, or text with one")
  return "" if numbers.final(str(answer)) is not None else f"check.answer {jsontext.shown(answer)} holds no number"


def _lacks(check: Check, key: str, kind: str) -> str:
  if key not in check:
    return f"check has no `{key}`; it must be {kind}"
  return f"check.{key} is {jsontext.name(check[key])} ({jsontext.shown(check[key])}); it must be {kind}"


def _json_answer(check: Check) -> Any:
  """The value of a check: the answer itself, or what its text says."""
  answer = check["answer"]
  return jsontext.loads(answer, finite=True) if isinstance(answer, str) else answer


CHECKERS: dict[str, Function] = {
  "exact": Function(exact, _exact_answer, ("answer",)),
  "any_of": Function(any_of, _text_answers, ("answers",)),
  "contains": Function(contains, _text_answer, ("answer",)),
  "json": Function(json_equal, _json_problem, ("answer",)),
  "final_number": Function(final_number, _number_problem, ("answer",)),
  "ifeval": Function(follows, _instructions_problem, ("instruction_id_list", "kwargs")),
}


def find(name: Any, own: Sequence[str] = ()) -> Checker:
  """The checker of a name: one of `CHECKERS`, or one of `own`, which are import paths (`my_module:my_checker`).

  Raises InputError for the name of a checker that there is not, that cannot be imported, or that the run does not name:
  rows alone import nothing.
  """
  if isinstance(name, str) and name in CHECKERS:
    return CHECKERS[name]
  if isinstance(name, str) and name in own:
    return _imported(name)
  if isinstance(name, str) and ":" in name:
    raise errors.InputError(f"the check {name!r} is imported only where the run names it: Items.checkers = ({name!r},)")
  raise errors.InputError(
    f"unknown check {jsontext.shown(name)}; checks are {', '.join(CHECKERS)}, or an own one by its import path, "
    "my_module:my_checker"
  )


def problem(check: Check, own: Sequence[str] = ()) -> str:
  """What is wrong with a check, in one line; "" where nothing is. Raises InputError for an unknown name."""
  checker = find(check.get("name"), own)
  unknown = sorted(key for key in check if checker.keys is not None and key not in (*_SHARED, *checker.keys))
  if unknown:
    keys = ", ".join(checker.keys or ())
    return f"check has the unknown key {jsontext.shown(unknown[0])}; a check {check['name']!r} has {keys}, choices"
  return checker.problem(check)


def of_answer(name: str, answer: str) -> dict[str, Any]:
  """The check of a name that an answer passes, for rows without one."""
  return {"name": name, "answers": [answer]} if name == "any_of" else {"name": name, "answer": answer}


def judge(output: str, check: Check, own: Sequence[str] = ()) -> bool:
  """Whether an output passes its check. Raises InputError for an unknown check, or one that is wrong."""
  wrong = problem(check, own)
  if wrong:
    raise errors.InputError(wrong)
  return find(check["name"], own)(output, check)


def _imported(path: str) -> Checker:
  module, _, name = path.partition(":")
  try:
    found: Any = vars(importlib.import_module(module))[name]
  except ImportError as e:
    raise errors.InputError(
      f"the check {path!r} cannot be imported ({e}); it is module:name, on the Python path"
    ) from None
  except KeyError:
    raise errors.InputError(f"the check {path!r}: {module} has no {name!r}") from None
  found = found() if isinstance(found, type) and issubclass(found, Checker) else found
  if not isinstance(found, Checker) and not callable(found):
    raise errors.InputError(f"the check {path!r} is neither a Checker nor a function (output, check) -> bool")
  return found if isinstance(found, Checker) else Function(found)
