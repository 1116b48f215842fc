"""Which texts may be instructions: the filters of Self-Instruct and Alpaca, and the gates that they share.

Sources: yizhongw/self-instruct, bootstrap_instructions.py (post_process_gpt3_response); tatsu-lab/stanford_alpaca,
generate_instruction.py. The word lists are facts of those filters.
"""

from collections.abc import Iterable, Mapping
import re
import string
from typing import Any

from itune_jax.synth import gates

# What a model of text alone cannot do.
SELF_INSTRUCT = (
  "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to",
)  # fmt: skip
ALPACA = (*SELF_INSTRUCT, "video", "audio", "music", "flowchart", "diagram")
FEWEST, MOST = 4, 150  # words: up to three, or more than 150, are no instruction


def unfit(text: str, words: Iterable[str] = SELF_INSTRUCT) -> str:
  """Why a text is no instruction; "" where it may be one."""
  count = len(text.split())
  if not text.strip():
    return "empty instruction"
  if not FEWEST <= count <= MOST:
    return "too short" if count < FEWEST else "too long"
  if any(re.search(rf"\b{re.escape(word)}\b", text, re.I) for word in words):
    return "asks for what is no text"
  if text.startswith("Write a program"):
    return "asks for a program"
  if text[0] in string.punctuation:
    return "begins with punctuation"
  return "" if text[0].isascii() else "begins with a letter beyond ASCII"


def instruction(row: Mapping[str, Any]) -> str:
  """The instruction of a row that a generator of tasks made."""
  return str(row["source"].get("instruction", ""))


def novel(before: Iterable[str]) -> gates.Novel:
  """The gate of both: ROUGE-L with every seed and every row before it is at most 0.7."""
  return gates.Novel(instruction, before)


def task_row(
  question: str, instruction_text: str, output: str, parents: Iterable[str] = (), **source: Any
) -> dict[str, Any]:
  """A row of a task; its instruction stands in its provenance, since the gate reads it there."""
  own = {"instruction": instruction_text, "parents": list(parents), **source}
  turns = [{"role": "user", "content": question}, {"role": "assistant", "content": output}]
  return {"messages": turns, "source": {name: value for name, value in own.items() if value not in ([], {}, "")}}
