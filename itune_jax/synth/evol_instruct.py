"""Evol-Instruct: instructions made harder or rarer, round by round, with the eliminator (Xu et al. 2023).

Five operators: four in depth (a constraint more, deeper, more concrete, more steps of reasoning), one in breadth. The
released code and its copies have no eliminator; the paper's has four rules, all of which are here: (1) it tells nothing
new, asked of the teacher; (2) the answer is an apology of under 80 words; (3) the answer is stop words and punctuation;
(4) the instruction copies words of the prompt.
"""

import dataclasses
import re

from itune_jax.core import ranges
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import samplers
from itune_jax.synth import sources

_DEPTH = """Rewrite the prompt below into a somewhat harder version, which a person can still understand and answer.
Do it in this way: {how}
Keep what is not text in it (tables, code) and its input. Add 10 to 20 words, no more. Answer with the new prompt alone.

#The prompt#
{prompt}

#The new prompt#
"""
_HOWS = {
  "constraint": "add one more constraint or requirement.",
  "deepen": "if it asks about certain things, ask about them in more depth and breadth.",
  "concretise": "replace general notions by more specific ones.",
  "reasoning": "if it can be solved in a few simple steps, ask explicitly for several steps of reasoning.",
}
OPERATORS = {name: _DEPTH.replace("{how}", how) for name, how in _HOWS.items()} | {
  "breadth": """Take the prompt below as an inspiration for a wholly new one, of the same field but rarer, of about \
the same length and difficulty, which a person can understand and answer. Answer with the new prompt alone.

#The prompt#
{prompt}

#The new prompt#
"""
}
EQUAL = """Do these two instructions ask for the same? They do if they have the same constraints and requirements, and \
the same depth and breadth.
The first: {first}
The second: {second}
Answer with Equal or Not Equal alone, without a reason.
"""
_COPIED = re.compile(r"#?(?:the |given |new |rewritten |created )+prompts?#?", re.I)
_STOP_WORDS = (
  "a an and are as at be but by for from had has have he her his i if in is it its me my no not of on or our she so "
  "that the their them then there they this to was we were what when which who will with you your"
)
_STOP = frozenset(_STOP_WORDS.split(" "))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolInstruct(generator.OverPrompts):
  """Each row of a file is evolved for some rounds; each evolution that stands is answered and kept.

  rounds: of evolution, each on what stands so far. operators: of which one is drawn a round. eliminate: whether the
  eliminator looks at each; the paper's does, the released code's does not.
  """

  name: str = "evol_instruct"
  rounds: ranges.PositiveInt = 4
  operators: tuple[str, ...] = tuple(OPERATORS)
  eliminate: bool = True
  temperature: ranges.NonNegativeFloat = 1.0
  top_p: ranges.PositiveShare = 0.95
  limit: ranges.NonNegativeInt = 2048

  @property
  def kind(self) -> str:
    """Distilled of a teacher."""
    return "distilled"

  @property
  def prompts(self):
    """Those of the operators, and the eliminator's."""
    return {**OPERATORS, "equal": EQUAL}

  def gate(self) -> gates.Gate:
    """Each question once."""
    return gates.Distinct(samplers.question)

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """Evolves a row."""
    example = self.rows_in.examples[n]
    standing, found = sources.asked(example), []
    if not standing:
      return [generator.Candidate({"text": "", "source": {"parents": [example.id]}}, "its row has not one question")]
    for k in range(self.rounds):
      candidate = yield from self._evolved(n, k, standing, example.id)
      found.append(candidate)
      if not candidate.reason:
        standing = samplers.question(candidate.row)
    return found

  def _evolved(self, n: int, k: int, standing: str, parent: str):
    operator = self.operators[int(self.random(n, str(k)).integers(len(self.operators)))]
    asked = self.question(OPERATORS[operator].format(prompt=standing))
    (response,) = yield from generator.ask([self.request(n, f"{k}/{operator}", asked)])
    evolved = response.text.strip()
    source = {"operator": operator, "round": k, "parents": [parent]}
    row = {"messages": [{"role": "user", "content": evolved}], "source": source}
    reason = self.faults.of(response.samples[0]) or self._copies(evolved)
    if reason:
      return generator.Candidate(row, reason)
    if self.eliminate:
      same = self.question(EQUAL.format(first=standing, second=evolved))
      (judged,) = yield from generator.ask([self.request(n, f"{k}/equal", same, temperature=0.0, limit=8)])
      if "not equal" not in judged.text.lower():
        told = "equal" in judged.text.lower()
        return generator.Candidate(row, "tells nothing new" if told else "whether it is new is not told")
    (answer,) = yield from generator.ask([self.request(n, f"{k}/answer", self.question(evolved))])
    row["messages"] = generator.pair(evolved, answer.text.strip(), self.system)
    return generator.Candidate(row, self.faults.of(answer.samples[0]) or self._no_answer(answer.text))

  def _copies(self, evolved: str) -> str:
    return "copies words of the prompt" if self.eliminate and _COPIED.search(evolved) else ""

  def _no_answer(self, answer: str) -> str:
    if not self.eliminate:
      return ""
    words = re.findall(r"\w+", answer.lower())
    if "sorry" in words and len(words) < 80:
      return "an apology"
    return "nothing but stop words" if all(word in _STOP for word in words) else ""
