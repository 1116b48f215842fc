"""What a `benchmark.toml` says, and the benchmark that it makes of a table."""

from collections.abc import Iterator
import dataclasses
import os
import re
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import own_grades
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.evals import tables
from itune_jax.grading import checkers
from itune_jax.grading.statistics import metrics as metrics_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """The keys of a `benchmark.toml`.

  name: under which its figures stand. file: the table, beside this file. ask: how it is asked. question: the prompt (or
  the text that is scored as a whole), with the names of columns between braces. answer: the column of what is right.
  answer_is: with choices, whether that column holds the text of the right one, its number from 0, or its letter from A.
  choices: a column that holds a list, or texts with columns between braces. check: how a generated answer is judged, a
  name of `grading/checkers` or an own checker's import path. metrics: which figures, all of its way of asking where it
  is empty. tags: columns by which figures are told apart. cluster: the column of what items are drawn together with.
  id: the column of ids, `id` where rows have it, else their numbers. shots: a table of examples with the same columns.
  form: how the prompt is put: plain, chat or turns. max_new_tokens: of an answer. stop: strings that end an answer.
  limit: so many items, 0 for all. source, licence: for the table of benchmarks. version: of data and scoring.
  """

  name: str
  file: str
  question: str
  ask: Literal["generate", "choose", "score", "rolling"] = "generate"
  answer: str = ""
  answer_is: Literal["text", "number", "letter"] = "text"
  choices: str | tuple[str, ...] = ()
  check: str = "exact"
  metrics: tuple[str, ...] = ()
  tags: tuple[str, ...] = ()
  cluster: str = ""
  id: str = ""
  shots: str = ""
  form: Literal["", "plain", "chat", "turns"] = ""
  max_new_tokens: int = 0
  stop: tuple[str, ...] = ()
  limit: int = 0
  source: str = ""
  licence: str = ""
  version: int = 1

  def __post_init__(self):
    check.check_types(self)
    plain = re.fullmatch(r"\w[\w.+-]*", self.name)
    check.require(plain, f"name = {jsontext.shown(self.name)}: it is a word, of letters, digits, dots and dashes")
    check.require(
      tables.Template(self.question, "question").columns,
      f"question = {jsontext.shown(self.question)}: it names no column (as {{country}}), so all items would be one",
    )
    for name in ("metrics", "tags"):
      given = vars(self)[name]
      check.require(len(set(given)) == len(given), f"{name} = {jsontext.shown(given)}: one stands twice")
    check.require(self.limit >= 0 and self.max_new_tokens >= 0, "limit and max_new_tokens count; 0 is the default")
    self._require("answer", bool(self.answer) == (self.ask != "rolling"), "all ways of asking but rolling need it")
    self._require("choices", self.ask in ("generate", "choose") or not self.choices, "only answers are chosen")
    self._require("choices", self.ask != "choose" or self.choices, 'ask = "choose" needs it')
    self._require("check", self.ask == "generate" or self.check == "exact", "only generated answers are checked")
    self._require("shots", self.ask != "rolling" or not self.shots, "a text that is scored as a whole has none")
    for name in ("max_new_tokens", "stop"):
      self._require(name, self.ask == "generate" or not vars(self)[name], "only answers are generated")
    self._require("answer_is", bool(self.choices) or self.answer_is == "text", "it tells which of `choices` is right")
    checkers.find(self.check, (self.check,) if ":" in self.check else ())
    for name in self.metrics:
      metrics_lib.named(self.known, name)

  def _require(self, key: str, condition: object, why: str) -> None:
    check.require(condition, f"{key} = {jsontext.shown(vars(self)[key])} with ask = {self.ask!r}: {why}")

  @property
  def known(self) -> dict[str, metrics_lib.Metric]:
    """All figures that there may be."""
    return {**own_grades.FIGURES[self.ask], **(own_grades.CLASSES if self.choices else {})}

  @property
  def figures(self) -> tuple[str, ...]:
    """The names of those that there are."""
    return self.metrics or tuple(own_grades.FIGURES[self.ask])


@dataclasses.dataclass(frozen=True)
class Table:
  """A folder and what its `benchmark.toml` says."""

  folder: str
  spec: Spec

  def benchmark(self, settings: official.Settings) -> protocol.Benchmark:
    """The benchmark."""
    spec = self.spec
    return protocol.Benchmark(
      name=spec.name,
      items=lambda: self.items(settings.shots),
      ask=self._ask(settings),
      grade=protocol.each(own_grades.GRADES[spec.ask]),
      metrics={name: spec.known[name] for name in spec.figures},
      tags=spec.tags,
      percent=spec.ask in ("generate", "choose"),
    )

  def _ask(self, settings: official.Settings) -> protocol.Ask:
    spec = self.spec
    form = {"form": spec.form} if spec.form else {}
    if spec.ask == "generate":
      return official.generate(settings, limit=spec.max_new_tokens, stop=spec.stop, **form)
    if spec.ask == "choose":
      return official.choose(settings, **form)
    if spec.ask == "score":
      return ask_lib.Score(form=settings.form or spec.form or "plain")  # pyright: ignore[reportArgumentType]
    return ask_lib.Rolling()

  def items(self, shots: int | None = None) -> Iterator[protocol.Item]:
    """The items, as a stream; shots: so many of the examples, all of them without a number.

    Raises InputError, naming file and line, for a row that they cannot be made of.
    """
    examples = self.shots()[:shots]
    for number, (where, row) in enumerate(tables.rows(os.path.join(self.folder, self.spec.file)), 1):
      yield dataclasses.replace(self._item(row, where, number), shots=examples)

  def shots(self) -> tuple[protocol.Shot, ...]:
    """The examples, in the order of their table."""
    if not self.spec.shots:
      return ()
    found = []
    for number, (where, row) in enumerate(tables.rows(os.path.join(self.folder, self.spec.shots)), 1):
      item = self._item(row, where, number)
      question = str(item.question)
      found.append(protocol.Shot(question, _behind(question, str(item.answer))))
    return tuple(found)

  def _item(self, row: tables.Row, where: str, number: int) -> protocol.Item:
    spec = self.spec
    column = spec.id or ("id" if "id" in row else "")
    question = tables.Template(spec.question, "question").fill(row, where)
    choices = self._choices(row, where)
    answer = self._answer(row, choices, where) if spec.answer else None
    if spec.ask in ("choose", "score"):
      choices, answer = tuple(_behind(question, choice) for choice in choices), _behind(question, str(answer))
    name = tables.text(row, column, where).strip() if column else str(number)
    check.require(name, f"{where}: column {column!r}, which names the item, is empty")
    return protocol.Item(
      id=name,
      question=question,
      answer=answer,
      choices=choices,
      cluster=tables.text(row, spec.cluster, where) if spec.cluster else "",
      tags={name: tables.text(row, name, where) for name in spec.tags},
      shown={"check": self._check(row, answer, where)} if spec.ask == "generate" else {},
      where=where,
    )

  def _choices(self, row: tables.Row, where: str) -> tuple[str, ...]:
    """The choices of a row: of a column that holds them, or each a text of its own."""
    given = self.spec.choices
    if isinstance(given, str):
      listed = tables.column(row, given, where)
      texts = isinstance(listed, (list, tuple)) and all(isinstance(one, str) for one in listed)
      check.require(texts, f"{where}: column {given!r} is {jsontext.shown(listed)}; it must be a list of texts")
      found = tuple(listed)
    else:
      found = tuple(tables.Template(one, "choices").fill(row, where) for one in given)
    good = len(found) > 1 and len(set(found)) == len(found) and all(one.strip() for one in found)
    check.require(
      good or not given, f"{where}: choices {jsontext.shown(found)} must be two texts or more, which differ"
    )
    return found

  def _answer(self, row: tables.Row, choices: tuple[str, ...], where: str) -> Any:
    """What is right: with choices always the text of one of them."""
    spec = self.spec
    if not choices:
      found = tables.text(row, spec.answer, where) if spec.ask == "score" else tables.column(row, spec.answer, where)
      check.require(
        not isinstance(found, str) or found.strip(),
        f"{where}: column {spec.answer!r}, which says what is right, is empty",
      )
      return found
    said = tables.text(row, spec.answer, where).strip()
    known = {
      "text": {choice.strip(): choice for choice in choices},
      "number": {str(i): choice for i, choice in enumerate(choices)},
      "letter": {chr(ord("A") + i): choice for i, choice in enumerate(choices)},
    }[spec.answer_is]
    if said not in known:
      raise errors.InputError(
        f"{where}: column {spec.answer!r} is {jsontext.shown(said)}, answer_is = {spec.answer_is!r}; it must be one "
        f"of {', '.join(map(jsontext.shown, known))}"
      )
    return known[said]

  def _check(self, row: tables.Row, answer: Any, where: str) -> dict[str, Any]:
    """The check that a generated answer has to pass; an own checker gets the whole row as well."""
    name = self.spec.check
    if ":" in name:
      return {"name": name, "answer": answer, "row": dict(row)}
    if name == "any_of" and isinstance(answer, (list, tuple)):
      found: dict[str, Any] = {"name": name, "answers": list(answer)}
    else:
      found = checkers.of_answer(name, answer)
    problem = checkers.problem(found)
    check.require(not problem, f"{where}: column {self.spec.answer!r}: {problem}")
    return found


def _behind(question: str, text: str) -> str:
  """A text as it stands behind a question: one space between them, unless there is white space already."""
  return text if question[-1:].isspace() or text[:1].isspace() else f" {text}"
