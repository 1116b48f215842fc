"""An evaluator that renders with another chat template than that of training: the fault of a wrong file."""

import copy
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Through(contracts.Evaluation):
  """What `evaluator` measures, of conversations that another template renders.

  evaluator: of text, such as `heldout.HeldOut`. template: a name, a file or Jinja text, as `specs.Model.chat_template`.
  """

  evaluator: Any
  template: str

  def __post_init__(self):
    check.require(self.template, "Through.template is empty: name a template, its file, or give its text")

  @property
  def every(self) -> int:
    """As the evaluator has it."""
    return self.evaluator.every

  @property
  def name(self) -> str:
    """As the evaluator has it."""
    return self.evaluator.name

  def bind(self, renderer: chat.Renderer, seed: int):
    """The evaluator with the other renderer. Raises InputError where the template's turns do not train."""
    tokenizer = copy.deepcopy(renderer.tokenizer)
    tokenizer.chat_template = tokenizer_lib.named(self.template)
    return self.evaluator.bind(chat.Renderer(tokenizer, renderer.config), seed)
