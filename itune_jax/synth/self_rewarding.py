"""Self-rewarding pairs: new prompts, several answers, rated by the model itself; best against worst (Yuan et al. 2024).

Prompts out of eight that are shown, four answers at temperature 0.7 and top_p 0.9, three ratings of each, ties skipped.
"""

import dataclasses
import functools

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import instructions
from itune_jax.synth import rating
from itune_jax.synth import samplers
from itune_jax.synth import sources

PROMPT = """Here are prompts that people gave to an assistant.

{shown}
Write one more, as such people would, unlike these. Answer with the prompt alone.
{about}"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfRewarding(generator.Generator):
  """Preference pairs: prompt, chosen, rejected, with their ratings.

  seeds: a file of prompts. shown: of which so many are shown for a new one; 0 answers the prompts themselves, one an
  item. answers: to each prompt. votes: ratings of each answer, whose mean counts. rubric: by which they are rated.
  """

  name: str = "self_rewarding"
  seeds: str
  shown: ranges.NonNegativeInt = 8
  answers: int = 4
  votes: int = 3
  rubric: str = "additive"
  top_p: ranges.PositiveShare = 0.9

  def __post_init__(self):
    super().__post_init__()
    check.require(self.answers > 1 and self.votes > 0, "SelfRewarding.answers is 2 or more, votes 1 or more")
    rating.named(self.rubric)
    fits = self.shown or self.attributes == samplers.Attributes()
    check.require(fits, "SelfRewarding.shown = 0 answers given prompts: attributes would be told to nobody")

  @property
  def takes_attributes(self) -> bool:
    """They are told with what is asked for."""
    return True

  @property
  def roles(self) -> tuple[str, ...]:
    """Who answers, and who rates: by its idea the same."""
    return (generator.TEACHER, rating.JUDGE)

  @property
  def items(self) -> int:
    """One a prompt, where prompts are given."""
    return 0 if self.shown else len(self.seed_prompts)

  @property
  def inputs(self) -> tuple[str, ...]:
    """The seeds."""
    return (self.seeds,)

  @property
  def reads(self) -> tuple[str, ...]:
    """The seeds."""
    return (self.seeds,)

  @property
  def prompts(self):
    """What asks for prompts, and the rubric."""
    return {"prompt": PROMPT, self.rubric: rating.named(self.rubric).template}

  @functools.cached_property
  def seed_prompts(self) -> list[str]:
    """Their questions."""
    found = [text for one in sources.read(self.seeds).examples if (text := sources.asked(one))]
    check.require(found, f"{self.seeds}: no row has one question")
    return found

  def gate(self) -> gates.Gate:
    """New prompts unlike those before; given ones as they are."""
    return instructions.novel(self.seed_prompts) if self.shown else gates.Gate()

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A prompt, answers, ratings, and the pair."""
    prompt = self.seed_prompts[n] if not self.shown else ""
    drawn = self.drawn(n) if self.shown else {}
    if self.shown:
      chosen = self.random(n).permutation(len(self.seed_prompts))[: self.shown]
      shown = "".join(f"- {' '.join(self.seed_prompts[i].split())}\n" for i in chosen)
      asked = self.question(PROMPT.replace("{about}", samplers.said(drawn)).replace("{shown}", shown))
      (response,) = yield from generator.ask([self.request(n, "prompt", asked, temperature=0.6)])
      prompt = response.text.strip()
      if reason := self.faults.of(response.samples[0]) or instructions.unfit(prompt):
        return [generator.Candidate({"text": prompt}, reason)]
    (response,) = yield from generator.ask([self.request(n, "answer", self.question(prompt), n=self.answers)])
    texts = [one.text.strip() for one in response.samples]
    good = [k for k, one in enumerate(response.samples) if not self.faults.of(one)]
    row = {
      "prompt": [dict(turn) for turn in self.question(prompt).messages],
      "source": {"instruction": prompt, **({"attributes": drawn} if drawn else {})},
    }
    if len(good) < 2:
      return [generator.Candidate(row, "fewer than two answers are some")]
    pairs = {str(k): rating.Pair(prompt, texts[k]) for k in good}
    told = yield from rating.rate(self, n, pairs, self.rubric, times=self.votes)
    rated = {k: value for k in good if (value := told[str(k)]) is not None}
    if len(rated) < 2:
      return [generator.Candidate(row, "rating not read")]
    best, worst = max(rated, key=lambda k: (rated[k], -k)), min(rated, key=lambda k: (rated[k], k))
    row |= {"chosen": _turn(texts[best]), "rejected": _turn(texts[worst])}
    row |= {"score_chosen": rated[best], "score_rejected": rated[worst]}
    reason = "a tie" if rated[best] == rated[worst] else "both say the same" if texts[best] == texts[worst] else ""
    return [generator.Candidate(row, reason)]


def _turn(text: str) -> list[dict[str, str]]:
  return [{"role": "assistant", "content": text}]
