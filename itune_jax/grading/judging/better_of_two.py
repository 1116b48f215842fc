"""A model of language as a reward: which of two answers is better, by the log-probs of two letters in both orders."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LETTERS = ("A", "B")


def question(prompt: Sequence[Mapping[str, Any]], first: str, second: str) -> str:
  """What is asked of two answers to a conversation."""
  said = "\n\n".join(f"[{m['role']}]\n{_text(m['content'])}" for m in prompt)
  return (
    f"{said}\n\nTwo answers to the conversation above:\n\n[Answer A]\n{first}\n\n[Answer B]\n{second}\n\n"
    "Which answer is better? Reply with one letter, A or B."
  )


def log_odds(logprobs: np.ndarray) -> np.ndarray:
  """log odds [rows] that the preferred answer is the better one, of log-probs [rows, order, letter].

  In order 0 it stands first, as A; in order 1 second, as B. The mean of both takes out a liking for a place.
  """
  first, second = logprobs[:, 0], logprobs[:, 1]
  return ((first[:, 0] - first[:, 1]) + (second[:, 1] - second[:, 0])) / 2


def _text(content: Any) -> str:
  return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
