"""Texts into ids by the rules of lm-eval's Hugging Face backend (`HFLM.tok_encode`, lm-eval 0.4.13), many at a time."""

from collections.abc import Iterable
import copy
from typing import Any


class Texts:
  """Ids of texts, kept as long as one call of lm-eval lasts: contexts come once for each continuation.

  prefix: the token that stands in front where there is nothing; a text that spells it gets no start token. start:
  whether texts begin with the start token, None for the tokenizer's own way.
  """

  def __init__(self, tokenizer: Any, prefix: int, start: bool | None):
    self._tokenizer, self._start, self._spelled = tokenizer, start, tokenizer.decode([prefix])
    self._known: dict[tuple[str, bool | None], list[int]] = {}

  def ids(self, text: str, special: bool | None = None) -> list[int]:
    """Ids of a text. special: whether the tokenizer adds its special tokens, None for the rule."""
    if (text, special) not in self._known:
      self.learn([text], special)
    return list(self._known[text, special])

  def learn(self, texts: Iterable[str], special: bool | None = None) -> None:
    """Tokenises many texts at once."""
    groups: dict[bool | None, list[str]] = {}
    for text in dict.fromkeys(texts):
      groups.setdefault(self._rule(text) if special is None else special, []).append(text)
    for adds, group in groups.items():
      ids = self._tokenizer(group, **({} if adds is None else {"add_special_tokens": adds}))["input_ids"]
      self._known |= {(text, special): own for text, own in zip(group, ids, strict=True)}

  def _rule(self, text: str) -> bool | None:
    return False if text.startswith(self._spelled) else self._start

  def forget(self) -> None:
    """Ends a call."""
    self._known.clear()


def wholes(context: str, continuation: str) -> tuple[str, str]:
  """The texts that `TemplateLM._encode_pair` tokenises: the context without white space at its end, and both."""
  return context.rstrip(), context + continuation


def own_start(tokenizer: Any, start: bool | None) -> Any:
  """A copy that itself puts the start token first, or does not, as transformers makes one of `add_bos_token`."""
  if start is None:
    return tokenizer
  tokenizer = copy.deepcopy(tokenizer)
  tokenizer.add_bos_token = start
  return tokenizer


def think_end(tokenizer: Any, given: str | int | None) -> str | int | None:
  """What ends thinking: the id where it is one, also that of a special token by its text, which answers do not show."""
  if isinstance(given, str) and given.isdigit():
    return int(given)
  special = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
  return special.get(given, given) if isinstance(given, str) else given
