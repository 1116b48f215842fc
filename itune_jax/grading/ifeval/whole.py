"""Instructions about a response as a whole: its language and case, how it begins and ends, what is repeated."""

import dataclasses

from itune_jax.core import check
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResponseLanguage(instruction.Instruction):
  """All is in one language. A text that has none to be told (digits, signs) follows, as it officially does."""

  language: str

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.language in texts.LANGUAGES,
      f"language is {self.language!r}, which langdetect does not know; it knows {', '.join(texts.LANGUAGES)}",
    )

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return texts.language(response) in (self.language, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnglishCapital(instruction.Instruction):
  """English in capitals alone."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.isupper() and texts.language(response) in ("en", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnglishLowercase(instruction.Instruction):
  """English without a capital."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.islower() and texts.language(response) in ("en", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoComma(instruction.Instruction):
  """No comma."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return "," not in response


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndChecker(instruction.Instruction):
  """The response ends with a phrase, whatever its case; quotation marks around the response do not count."""

  end_phrase: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.strip().strip('"').lower().endswith(self.end_phrase.strip().lower())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quotation(instruction.Instruction):
  """All stands between two double quotation marks."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = response.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoResponses(instruction.Instruction):
  """Two responses that differ, with six stars between them; there may be stars in front and behind too."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    parts = [part.strip() for part in response.split("******")]
    found = [part for part in parts if part]
    return all(parts[1:-1]) and len(found) == 2 and found[0] != found[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatPrompt(instruction.Instruction):
  """The response begins with the prompt, whatever its case."""

  prompt_to_repeat: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.strip().lower().startswith(self.prompt_to_repeat.strip().lower())
