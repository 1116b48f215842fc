"""Plain text in and out of ids: what is asked of a model that needs no chat template."""

import functools
from collections.abc import Sequence
from typing import Any

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.data import fields
from itune_jax.data.render import tokenizer as tokenizer_lib


class Renderer(conversation_lib.Renderer):
  """Knows a tokenizer and no template."""

  def __init__(self, tokenizer: Any):
    self.tokenizer = tokenizer

  @functools.cached_property
  def turn_end(self) -> conversation_lib.TurnEnd:
    """What the tokenizer calls an end."""
    return turn_end(self.tokenizer)

  def prompt(self, conversation: conversation_lib.Conversation) -> conversation_lib.Prompt:
    """Raises InputError: without a template there is no conversation."""
    raise errors.InputError("this model has no chat template: ask it plain text, or name a template")

  def decode(self, ids: Sequence[int]) -> str:
    """The text of generated ids, without what ends the turn or pads; other special tokens are content."""
    silent = self.turn_end.silent
    return self.tokenizer.decode([i for i in ids if i not in silent], skip_special_tokens=False)

  def continued(self, context: conversation_lib.Conversation | str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a text and of what continues it, tokenised as lm-evaluation-harness does.

    White space at the end of the context moves to the continuation, and both are tokenised together and cut behind the
    context's tokens; where one token straddles that place and nothing would be left, each is tokenised by itself. An
    empty context becomes the start token.
    """
    if isinstance(context, conversation_lib.Conversation):
      return self.prompt(context).ids, self.encode(continuation)
    spaces = len(context) - len(context.rstrip())
    if spaces:
      context, continuation = context[:-spaces], context[-spaces:] + continuation
    if not context:
      return [tokenizer_lib.start_id(self.tokenizer)], self.encode(continuation)
    head, whole = self.encode(context), self.encode(context + continuation)
    return head, whole[len(head) :] or self.encode(continuation)

  def encode(self, text: str) -> list[int]:
    """Ids of rendered text; special tokens only where the text spells them. Raises InputError for half of a surrogate
    pair, which is no character."""
    try:
      return self.tokenizer(text, add_special_tokens=False)["input_ids"]
    except TypeError:
      fields.text(text, "the text")  # the tokenizer's own words do not say what is wrong
      raise


def turn_end(tokenizer: Any, more: Sequence[int] = ()) -> conversation_lib.TurnEnd:
  """How a turn ends by the tokenizer's word, and by these ids."""
  ends = tuple(dict.fromkeys((*tokenizer_lib.end_ids(tokenizer), *more)))
  silent = frozenset(i for i in (*ends, tokenizer.pad_token_id, tokenizer.bos_token_id) if i is not None)
  return conversation_lib.TurnEnd(tokenizer.eos_token or "", ends, (), silent)
