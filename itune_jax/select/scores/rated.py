"""A judge's rubric as a score (AlpaGasus: Chen et al., ICLR 2024, arXiv 2307.08701), and any function of yours."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.data import example as example_lib
from itune_jax.grading.judging import judge_prompt as prompt_lib
from itune_jax.grading.judging import reading as reading_lib
from itune_jax.grading.judging import rubrics
from itune_jax.sampling import requests as requests_lib
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged(select_protocol.Score):
  """The rating of a row's last answer by a model on the mesh, or by an endpoint.

  prompt: a rubric by its name (`grading.judging.rubrics`) or the path of one of yours. by: read from the text that the
  judge writes, or the expectation over the rating tokens of the rubric. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  prompt: str = "rate_5"
  by: Literal["tokens", "text"] = "tokens"
  name: str = "judge"

  def __post_init__(self):
    check.check_types(self)
    rubric = rubrics.named(self.prompt)
    check.require(rubric.kind == "single", f"Judged.prompt = {self.prompt!r} compares two answers; a row has one")
    check.require(rubric.tokens or self.by == "text", f"Judged.prompt = {self.prompt!r} has no tokens: use by = 'text'")

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Ratings [N]; NaN for a row without an answer, and where the judge gave no verdict."""
    rubric, responder = rubrics.named(self.prompt), responder_of(ask)
    found = list(map(answers_lib.example, rows))
    at = [i for i, one in enumerate(found) if one is not None and one.answer]
    asked = [rubric.filled(_values(found[i])) for i in at]
    values = np.full(len(rows), np.nan)
    readings = self._weighed(rubric, responder, asked) if self.by == "tokens" else self._read(rubric, responder, asked)
    values[at] = [np.nan if one.value is None else one.value for one in readings]
    return values

  def _weighed(self, rubric: prompt_lib.Prompt, responder, asked) -> list[reading_lib.Reading]:
    try:
      scores = iter(responder.score([requests_lib.Pair(one, token) for one in asked for token in rubric.tokens]))
    except errors.InputError as e:
      raise errors.InputError(f"{e}; or have the rating read from what it writes: --gin.rated.Judged.by=text") from None
    told = [{token: float(np.exp(next(scores).logprob)) for token in rubric.tokens} for _ in asked]
    return [reading_lib.expectation(rubric.tokens, one, "") for one in told]

  def _read(self, rubric: prompt_lib.Prompt, responder, asked) -> list[reading_lib.Reading]:
    return [reading_lib.of_text(rubric, *one) for one in texts(responder, asked, self.name, rubric.limit)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reward(select_protocol.Score):
  """What a function says of rows: a reward model of yours, a checker, anything.

  function: examples [N] -> numbers [N]; in gin `@my_module.reward`. name: under which rows bear it.
  """

  function: Callable[[Sequence[example_lib.Example]], Sequence[float]]
  name: str = "reward"

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Its numbers [N]; NaN for a row that is no example. Raises InputError when it gives another count."""
    del ask
    found = list(map(answers_lib.example, rows))
    at = [i for i, one in enumerate(found) if one is not None]
    said = np.asarray(self.function([one for one in found if one is not None]), np.float64)
    if said.shape != (len(at),):
      raise errors.InputError(f"Reward.function gave {said.shape} for {len(at)} examples; it gives one number for each")
    values = np.full(len(rows), np.nan)
    values[at] = said
    return values


def responder_of(ask: select_protocol.Ask | None) -> requests_lib.Responder:
  """Who answers. Raises InputError where nobody does."""
  if ask is None:
    raise errors.InputError("this score asks a model: give --base")
  return ask.responder


def texts(responder: requests_lib.Responder, asked: Sequence[Any], name: str, limit: int) -> list[tuple[str, str]]:
  """(text, finish) of each answer, all asked together."""
  found = [
    requests_lib.Request(conversation=one, id=f"{name}/{i}", limit=limit, temperature=0.0)
    for i, one in enumerate(asked)
  ]
  return [(one.samples[0].text, one.samples[0].finish) for one in responder.answer(found)]


def _values(found: example_lib.Example | None) -> dict[str, str]:
  assert found is not None
  asked = [f"{m['role']}: {example_lib.text(m['content'])}" for m in found.prompt]
  users = [example_lib.text(m["content"]) for m in found.prompt if m["role"] == "user"]
  return {"question": users[0] if len(asked) == 1 and users else "\n\n".join(asked), "answer": found.answer}
