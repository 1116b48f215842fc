"""Magpie: a model that was tuned to chat, given no more than the head of a user's turn, writes the question (Xu et al.
2024); then it answers it.

Source: magpie-align/magpie: question at temperature 1, ended by the template's stops and a line break; answer at
temperature 0; tags of difficulty, quality and category as JSON; kept: quality good or excellent, not ending in a colon.
"""

import dataclasses

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.synth import faults
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import rating
from itune_jax.synth import samplers

TAGS = """Look at the user's question below. Do not answer it. Tell what it is about, and rate it.

<question>
{question}
</question>

Answer with a JSON object alone, with these keys:
"intent": what the user wants, in one sentence;
"difficulty": one of "very easy", "easy", "medium", "hard", "very hard";
"quality": one of "very poor", "poor", "average", "good", "excellent" (clear, specific, complete as a request);
"category": one of "information seeking", "reasoning", "planning", "editing", "coding", "math", "role playing", \
"data analysis", "creative writing", "advice seeking", "brainstorming", "others".
"""
DIFFICULTIES = ("very easy", "easy", "medium", "hard", "very hard")
QUALITIES = ("very poor", "poor", "average", "good", "excellent")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Magpie(generator.Generator):
  """Questions out of nothing but the template, their tags, and answers.

  prefix: the template up to where a user's words begin, such as `<|im_start|>user` and a line break. stop: what ends
  a question. tagged: whether questions are tagged, and filtered by that. qualities: tags of quality that are kept.
  least_reward: rating by the judge from which answers are kept, 0 for no judge. question_tokens: of a question.
  """

  name: str = "magpie"
  prefix: str
  stop: tuple[str, ...] = ("\n",)
  tagged: bool = True
  qualities: tuple[str, ...] = ("good", "excellent")
  least_reward: float = 0.0
  question_tokens: ranges.PositiveInt = 256
  temperature: ranges.NonNegativeFloat = 1.0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.prefix, "Magpie.prefix is empty: give the template up to the user's words")
    wrong = sorted(set(self.qualities) - set(QUALITIES))
    check.require(not wrong, f"Magpie.qualities has {', '.join(wrong)}; they are {', '.join(QUALITIES)}")

  @property
  def roles(self) -> tuple[str, ...]:
    """A judge too, where one rates."""
    return (generator.TEACHER, rating.JUDGE) if self.least_reward else (generator.TEACHER,)

  @property
  def prompts(self):
    """The prefix, and what asks for tags."""
    return {"prefix": self.prefix, "tags": TAGS}

  def gate(self) -> gates.Gate:
    """Questions unlike those before."""
    return gates.Novel(samplers.question)

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A question, its tags, its answer."""
    request = self.request(n, "question", self.prefix, stop=self.stop, limit=self.question_tokens)
    (response,) = yield from generator.ask([request])
    question = response.text.strip()
    row = {"messages": [{"role": "user", "content": question}], "source": {}}
    reason = self.faults.of(response.samples[0]) or ("ends with a colon" if question.endswith(":") else "")
    if reason:
      return [generator.Candidate(row, reason)]
    if self.tagged:
      asked = self.request(n, "tags", self.question(TAGS.replace("{question}", question)), temperature=0.0, limit=256)
      (told,) = yield from generator.ask([asked])
      tags = faults.json_in(told.text)
      if tags is None or tags.get("quality") not in QUALITIES or tags.get("difficulty") not in DIFFICULTIES:
        return [generator.Candidate(row, "tags: broken JSON" if tags is None else "tags: unknown ones")]
      row["source"]["tags"] = {key: str(tags[key]) for key in ("difficulty", "quality", "category") if key in tags}
      if tags["quality"] not in self.qualities:
        return [generator.Candidate(row, f"quality: {tags['quality']}")]
    (answer,) = yield from generator.ask([self.request(n, "answer", self.question(question), temperature=0.0)])
    row["messages"] = generator.pair(question, answer.text.strip(), self.system)
    reason = self.faults.of(answer.samples[0])
    if self.least_reward and not reason:
      told = yield from rating.rate(self, n, {"answer": rating.Pair(question, answer.text)}, "additive")
      reward = told["answer"]
      row |= {} if reward is None else {"scores": {"additive": reward}}
      reason = "rating not read" if reward is None else "rated too low" if reward < self.least_reward else ""
    return [generator.Candidate(row, reason)]
