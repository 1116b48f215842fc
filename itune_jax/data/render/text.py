"""Plain text in and out of ids: what is asked of a model that needs no chat template."""

import bisect
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import transformers

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.data import fields
from itune_jax.data.render import tokenizer as tokenizer_lib


_FAST = transformers.PreTrainedTokenizerFast


class Encoded:
  """Ids of a text, and where each stands in it. Places are asked for one by one: a list of all of them costs a fifth of
  what the tokenizer does.

  backend: the encoding of the tokenizer's backend."""

  def __init__(self, backend: Any):
    self.ids: list[int] = backend.ids
    self._backend = backend

  def span(self, i: int) -> tuple[int, int]:
    """(first, last + 1) of the characters of an id."""
    return self._backend.offsets[i] if (found := self._backend.token_to_chars(i)) is None else found

  def before(self, place: int) -> int:
    """How many ids begin in front of a character; their begins never go back."""
    at = self._backend.char_to_token(place)
    if at is None:  # no id covers it: white space that the tokenizer leaves out, or the end
      return bisect.bisect_left(self._backend.offsets, (place,))
    while at < len(self.ids) and self.span(at)[0] < place:
      at += 1
    while at and self.span(at - 1)[0] >= place:
      at -= 1
    return at


def encoded(tokenizer: Any, texts: list[str]) -> list[Encoded]:
  """Ids and places of rendered texts, as the tokenizer's own call gives them for each, without special tokens in front;
  where it adds nothing to what its backend does, the backend is asked for all of them at once."""
  if not texts or not isinstance(tokenizer, _FAST):
    return [_alone(tokenizer, text) for text in texts]
  backend, kind = tokenizer.backend_tokenizer, type(tokenizer)
  is_plain = kind._encode_plus is _FAST._encode_plus and kind.__call__ is _FAST.__call__
  is_settled = backend.truncation is None and backend.padding is None
  if is_plain and is_settled and backend.encode_special_tokens == tokenizer.split_special_tokens:
    try:
      return [Encoded(one) for one in backend.encode_batch(texts, add_special_tokens=False)]
    except (TypeError, UnicodeError):
      pass  # a text that is none: the call below says of which
  return [_alone(tokenizer, text) for text in texts]


class _Listed(NamedTuple):
  """What a tokenizer's own call gives, as a backend's encoding."""

  ids: list[int]
  offsets: list[tuple[int, int]]

  def token_to_chars(self, i: int) -> tuple[int, int]:
    """The characters of an id."""
    return self.offsets[i]

  def char_to_token(self, place: int) -> None:
    """To be searched for."""
    del place


def _alone(tokenizer: Any, text: str) -> Encoded:
  tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
  return Encoded(_Listed(tokens["input_ids"], [tuple(pair) for pair in tokens["offset_mapping"]]))


class Renderer(conversation_lib.Renderer):
  """Knows a tokenizer and no template."""

  def __init__(self, tokenizer: Any):
    self.tokenizer = tokenizer

  @functools.cached_property
  def tokenizer_digest(self) -> str:
    """What the tokenizer is (`tokenizer.digest`); a renderer's is complete, and asked for often."""
    return tokenizer_lib.digest(self.tokenizer)

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
