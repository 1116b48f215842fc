"""Judges of candidates: rubrics that end in a number, and the step that asks for it, several times where that helps."""

from collections.abc import Generator as Coroutine
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.core import ranges
from itune_jax.grading.judging import judge_prompt
from itune_jax.grading.judging import reading
from itune_jax.grading.judging import rubrics
from itune_jax.synth import generator as generator_lib

JUDGE = "judge"

ADDITIVE = judge_prompt.Prompt(
  name="additive",
  kind="single",
  template="""Rate the answer below to the user's question by adding up points, one for each of these that holds:
1. It says something that belongs to the question, even if it is incomplete.
2. It deals with a good part of what was asked.
3. It answers the basic elements of the question in a way that can be used.
4. It is written as an assistant writes: clear, organised, complete, from the assistant's point of view.
5. It fits the question exactly, without anything that does not belong, and shows expert knowledge.

<question>
{question}
</question>

<answer>
{answer}
</answer>

Give your reasons in at most three sentences. Then write the total, from 0 to 5, in double brackets, like [[3]].""",
  fields=("question", "answer"),
  reads="rating",
  scale=(0.0, 5.0),
  limit=256,
  source="after the additive scale of Self-Rewarding Language Models (arXiv 2401.10020), in our words",
)

CURATION = judge_prompt.Prompt(
  name="curation",
  kind="single",
  template="""Below are a user's instruction and a text that is to serve as its answer. Rate from 1 to 5 how good an \
example of an assistant's answer it is:
1: incomplete, vague, off the topic, or not what was asked.
2: it deals with most of the request, but not as an answer to it.
3: helpful, but not written as an assistant would: a blog post, a page of a site, somebody's own experience.
4: written as an assistant's answer, complete, with small things to improve.
5: a perfect answer of an assistant: focused, well written, expert, made for this instruction.

<instruction>
{question}
</instruction>

<answer>
{answer}
</answer>

Give your reasons in one sentence. Then write the rating in double brackets, like [[3]].""",
  fields=("question", "answer"),
  reads="rating",
  scale=(1.0, 5.0),
  limit=256,
  source="after the self-curation of instruction back-translation (arXiv 2308.06259), in our words",
)

OWN = {prompt.name: prompt for prompt in (ADDITIVE, CURATION)}


class Pair(NamedTuple):
  """What is rated: an answer to a question."""

  question: str
  answer: str


def named(name: str) -> judge_prompt.Prompt:
  """A rubric that rates one answer: `additive`, `curation`, one of `grading.judging`, or a file. Raises InputError."""
  found = OWN.get(name) or rubrics.named(name)
  if found.kind != "single" or set(found.fields) - {"question", "answer"}:
    hint = nearest.meant(name, OWN)
    raise errors.InputError(f"the rubric {name!r} does not rate one answer to one question{hint}; {', '.join(OWN)} do")
  return found


def rate(
  generator: generator_lib.Generator,
  n: int,
  pairs: Mapping[str, Pair],
  rubric: str,
  role: str = JUDGE,
  times: int = 1,
  temperature: ranges.NonNegativeFloat = 0.0,
) -> Coroutine[Any, Any, dict[str, float | None]]:
  """For `yield from`: the mean rating of each pair over `times` answers of the judge, by its name within the item; None
  where no answer could be read."""
  prompt = named(rubric)
  how = {"limit": prompt.limit, "n": times, "temperature": temperature if times == 1 else max(temperature, 0.7)}
  filled = {what: prompt.filled({"question": pair.question, "answer": pair.answer}) for what, pair in pairs.items()}
  requests = [generator.request(n, f"rate/{what}", filled[what], **how) for what in pairs]
  responses = yield from generator_lib.ask(requests, role)
  found: dict[str, float | None] = {}
  for what, response in zip(pairs, responses, strict=True):
    read = [reading.of_text(prompt, one.text, one.finish) for one in response.samples if one.finish != "failed"]
    values = [one.value for one in read if one.value is not None]
    found[what] = round(sum(values) / len(values), 6) if values else None
  return found


def best(ratings: Sequence[float | None]) -> int | None:
  """The place of the highest rating, the first of equal ones; None without any."""
  known = [k for k, rating in enumerate(ratings) if rating is not None]
  return max(known, key=lambda k: (ratings[k] or 0.0, -k)) if known else None
