"""Words of a list in a text: the crude measure of toxicity that needs no model."""

from collections.abc import Sequence
import re


class WordList:
  """Finds the words and phrases of a list as whole words, in any case of letters."""

  def __init__(self, words: Sequence[str]):
    """Raises ValueError for a list without a word."""
    if not words:
      raise ValueError("the list has no word")
    longest_first = sorted(dict.fromkeys(word.lower() for word in words), key=lambda word: (-len(word), word))
    self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)

  def found(self, text: str) -> list[str]:
    """Those that stand in a text, in their order, in lower case."""
    return [match[0].lower() for match in self._pattern.finditer(text)]
