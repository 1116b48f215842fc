"""Three prompts in the official format, and responses to them."""

import json
import pathlib

ROWS = [
  {
    "key": 1,
    "prompt": "Write about the sea in 5 words or more. Use no comma.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 5, "relation": "at least"}],
  },
  {
    "key": 2,
    "prompt": "Give a title in double angular brackets.",
    "instruction_id_list": ["detectable_format:title"],
    "kwargs": [{"num_words": None, "relation": None}],
  },
  {
    "key": 3,
    "prompt": "Name a fruit. End with: So be it.",
    "instruction_id_list": ["startend:end_checker", "punctuation:no_comma"],
    "kwargs": [{"end_phrase": "So be it."}, {}],
  },
]
# Strict: the first follows nothing, the second nothing (loosely its one), the third both.
RESPONSES = {1: "The sea, blue.", 2: "Here:\n<*<Sea>*>", 3: "A pear. So be it."}


def write(folder: pathlib.Path, rows=ROWS) -> str:
  """Writes the official file; returns the folder to look in."""
  (folder / "ifeval").mkdir(parents=True, exist_ok=True)
  (folder / "ifeval" / "input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(folder)
