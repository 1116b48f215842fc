"""Exact match by generation: prompt, decode, judge by the item's own check."""

import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.data.render import chat
from itune_jax.data import example as example_lib
from itune_jax.evals import items as items_lib
from itune_jax.grading import checkers
from itune_jax.sampling.decode import decode as decode_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
  """The evaluator as a value; `bind` gives it the renderer of the run."""

  items: items_lib.Items
  decode: decode_lib.Decode = decode_lib.Decode()
  every: int = 0
  name: str = "generation"

  def __post_init__(self):
    check.check_types(self)

  def bind(self, renderer: chat.Renderer, seed: int) -> "Bound":
    """The evaluator, ready to run."""
    del seed
    return Bound(self.name, self.every, self.decode, self.items.load(), renderer)


@dataclasses.dataclass(frozen=True)
class Bound:
  """Keeps the Evaluator contract."""

  name: str
  every: int
  decode: decode_lib.Decode
  examples: list[example_lib.Example]
  renderer: chat.Renderer

  def run(self, view: Any) -> contracts.EvalResult:
    """Generates greedily (or as configured) and judges; one row per item with prompt, output and verdict."""
    prompts = [self.renderer.prompt_ids(e.prompt, tools=e.tools, **e.template_kwargs) for e in self.examples]
    images = [self.renderer.prompt_images(e.prompt) for e in self.examples]
    outputs = view.generate(prompts, self.decode, images)
    rows = []
    for example, out in zip(self.examples, outputs, strict=True):
      text = self.renderer.tokenizer.decode(out.tokens, skip_special_tokens=True)
      rows.append(
        {
          "id": example.id,
          "cluster": items_lib.cluster(example),
          "domain": example.domain,
          "prompt": example_lib.text(example.prompt[-1]["content"]),
          "output": text,
          "answer": example.answer,
          "correct": checkers.judge(text, example.check),
          "stopped": out.stopped,
        }
      )
    found = items_lib.figures(self.name, "exact_match", rows)
    found[f"{self.name}/stopped"] = sum(row["stopped"] for row in rows) / len(rows)
    return contracts.EvalResult(found, rows)
