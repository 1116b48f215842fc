"""Multiple choice by log-likelihood: the choice that the model finds likeliest, as text and per character."""

import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.data.render import chat
from itune_jax.data import example as example_lib
from itune_jax.evals import items as items_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
  """Items whose check lists `choices`; others of the source are passed over."""

  items: items_lib.Items
  every: int = 0
  name: str = "choice"

  def __post_init__(self):
    check.check_types(self)

  def bind(self, renderer: chat.Renderer, seed: int) -> "Bound":
    """The evaluator, ready to run. Raises InputError when no item has choices."""
    del seed
    examples = [e for e in self.items.load() if e.check.get("choices")]
    if not examples:
      raise errors.InputError(f"{self.name}: no item of {self.items.source.path} has check.choices")
    return Bound(self.name, self.every, examples, renderer)


@dataclasses.dataclass(frozen=True)
class Bound:
  """Keeps the Evaluator contract."""

  name: str
  every: int
  examples: list[example_lib.Example]
  renderer: chat.Renderer

  def run(self, view: Any) -> contracts.EvalResult:
    """acc: argmax of the sum of log-probabilities; acc_norm: per character of the choice (as lm-eval)."""
    pairs, images, owner = [], [], []
    for i, example in enumerate(self.examples):
      context = self.renderer.prompt_ids(example.prompt, tools=example.tools, **example.template_kwargs)
      seen = self.renderer.prompt_images(example.prompt)
      for choice in example.check["choices"]:
        images.append(seen)
        pairs.append((context, self.renderer.encode(choice)))
        owner.append(i)
    scores: list[list[float]] = [[] for _ in self.examples]
    for i, score in zip(owner, view.score(pairs, images), strict=True):
      scores[i].append(score.logprob)
    rows = []
    for example, logprobs in zip(self.examples, scores, strict=True):
      choices = example.check["choices"]
      right = choices.index(example.check["answer"])
      normed = [lp / len(choice) for lp, choice in zip(logprobs, choices, strict=True)]
      rows.append(
        {
          "id": example.id,
          "cluster": items_lib.cluster(example),
          "domain": example.domain,
          "choices": choices,
          "logprobs": logprobs,
          "answer": choices[right],
          "correct": _wins(logprobs, right),
          "correct_norm": _wins(normed, right),
        }
      )
    found = items_lib.figures(self.name, "acc", rows) | items_lib.figures(self.name, "acc_norm", rows, "correct_norm")
    return contracts.EvalResult(found, rows)


def _wins(scores, right) -> bool:
  """Strictly: a tie is wrong, whichever comes first."""
  return all(scores[right] > s for i, s in enumerate(scores) if i != right)
