"""MBPP (Austin et al. 2021, arXiv 2108.07732): a function is written from a sentence and three tests, and run.

The test split: tasks 11 to 510. Scored as published: the answer with the tests behind it; the sandbox runs the tests in
another process than the program.

| variant     | asked with                              | the answer is                                              |
|-------------|-----------------------------------------|------------------------------------------------------------|
| `published` | three examples, `[BEGIN]`, as lm-eval's | all up to `[DONE]`, as it stands                           |
| `instruct`  | lm-eval's `mbpp_instruct`               | the block that the prompt has opened                       |
| `chat`      | the sentence and the tests in one turn  | a program, in a block or not, with or without words around |
"""

import builtins
from collections.abc import Iterator
import re
from typing import Any

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import passing
from itune_jax.evals import protocol

FILES = "mbpp.*"  # the repository has all 974 in mbpp.jsonl; splits of it are called mbpp.test.jsonl
SPLIT = range(11, 511)
NEW_TOKENS = {"published": 256, "instruct": 256, "chat": 1024}  # lm-eval's limits
SAMPLED = {"temperature": 0.2, "top_p": 0.95}
STOP = {"published": ("[DONE]",), "instruct": (), "chat": ()}
RULES = {"published": "whole", "instruct": "lm_eval_block", "chat": "any"}
# Of the paper's figure 1; lm-eval's mbpp.yaml and mbpp_instruct.yaml.
PUBLISHED = (
  "You are an expert Python programmer, and here is your task: {text} Your code should pass these tests:\n\n"
  "{tests}\n[BEGIN]\n"
)
INSTRUCT = (
  "You are an expert Python programmer, and here is your task:\n{text}\nYour code should pass these tests:\n{tests}"
)
OPENED = "\n```python\n"
# The prompt split's tasks 2, 3 and 4, which the paper and lm-eval put in front (data of the benchmark, CC BY 4.0).
EXAMPLES: tuple[tuple[str, str, tuple[str, str, str]], ...] = (
  (
    "Write a function to find the similar elements from the given two tuple lists.",
    "def similar_elements(test_tup1, test_tup2):\r\n  res = tuple(set(test_tup1) & set(test_tup2))\r\n  return (res) ",
    (
      "assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)",
      "assert similar_elements((1, 2, 3, 4),(5, 4, 3, 7)) == (3, 4)",
      "assert similar_elements((11, 12, 14, 13),(17, 15, 14, 13)) == (13, 14)",
    ),
  ),
  (
    "Write a python function to identify non-prime numbers.",
    "import math\r\ndef is_not_prime(n):\r\n    result = False\r\n    for i in range(2,int(math.sqrt(n)) + 1):\r\n"
    "        if n % i == 0:\r\n            result = True\r\n    return result",
    ("assert is_not_prime(2) == False", "assert is_not_prime(10) == True", "assert is_not_prime(35) == True"),
  ),
  (
    "Write a function to find the largest integers from a given list of numbers using heap queue algorithm.",
    "import heapq as hq\r\ndef heap_queue_largest(nums,n):\r\n  largest_nums = hq.nlargest(n, nums)\r\n"
    "  return largest_nums",
    (
      "assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],3)==[85, 75, 65] ",
      "assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],2)==[85, 75] ",
      "assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],5)==[85, 75, 65, 58, 35]",
    ),
  ),
)


def one_file(folder: folders.Folder, pattern: str) -> str:
  """The file of a pattern. Raises InputError where there are several."""
  found = folder.files(pattern)
  check.require(len(found) == 1, f"{folder.path}: several files are called {pattern}: keep one")
  return found[0]


def items(path: str, settings: official.Settings) -> Iterator[protocol.Item]:
  """The test split as items. Raises InputError, naming file and line, for a row that lacks something."""
  for where, row in folders.objects(path):
    if folders.field(row, "task_id", int, where) in SPLIT:
      yield item(row, where, settings)


def item(row: dict[str, Any], where: str, settings: official.Settings) -> protocol.Item:
  """The item of a row, of MBPP or of its sanitised part, which calls the sentence `prompt`."""
  sanitised = "test_imports" in row
  text = folders.words(row, "prompt" if sanitised else "text", where)
  tests = folders.field(row, "test_list", list, where)
  check.require(_is_code(tests), f"{where}: test_list must be a list of texts, none of them empty")
  before = row["test_imports"] if sanitised else [folders.field(row, "test_setup_code", str, where)]
  check.require(all(isinstance(one, str) for one in before), f"{where}: test_imports must be a list of texts")
  variant = settings.variant
  shots = EXAMPLES[: settings.shots] if variant != "chat" else ()
  return protocol.Item(
    id=str(folders.field(row, "task_id", int, where)),
    question=_question(variant, text, tests),
    shots=tuple(protocol.Shot(_question(variant, said, of), _answer(variant, code)) for said, code, of in shots),
    answer={"tests": "\n".join([*before, *tests, ""]), "entry": entry(tests[0])},
    where=where,
  )


def _is_code(tests: list[Any]) -> bool:
  """Whether these are tests: an empty one would call every program right."""
  return bool(tests) and all(isinstance(one, str) and one.strip() for one in tests)


def _question(variant: str, text: str, tests: Any) -> str:
  # lm-eval asks with three tests, of which every problem of the test split has three.
  first = "\n".join(tests[:3])
  if variant == "published":
    return PUBLISHED.format(text=text, tests=first)
  return INSTRUCT.format(text=text, tests=first) + (OPENED if variant == "instruct" else "")


def _answer(variant: str, code: str) -> str:
  return f"{code}\n[DONE]" if variant == "published" else f"{code}\n```"


def entry(test: str) -> str:
  """The function that a test calls, "" where it is not seen: what is asked for, by which a block of an answer is
  chosen. Functions of Python around it (`set(f(x))`) are not it."""
  names = re.findall(r"(?<![\w.])([A-Za-z_]\w*)\s*\(", test.partition("assert")[2])
  return next((name for name in names if name not in vars(builtins)), "")


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return of_file("mbpp", one_file(folder, FILES), settings)


def of_file(name: str, path: str, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a file of this form."""
  variant, ks = settings.variant, passing.at(settings.samples)
  drawn = SAMPLED if settings.samples > 1 else {"temperature": 0.0}
  how = {"limit": NEW_TOKENS[variant], "form": "chat" if variant == "chat" else "plain", **drawn}
  return protocol.Benchmark(
    name=name,
    items=lambda: items(path, settings),
    ask=official.generate(settings, stop=STOP[variant], **how),
    grade=passing.Passes(RULES[variant], ks, settings.sandbox),
    metrics=passing.metrics(ks),
  )


BENCHMARK = official.Published(
  name="mbpp",
  axis="utility",
  files=(FILES,),
  source="https://github.com/google-research/google-research/tree/master/mbpp",
  hub="google-research-datasets/mbpp",
  licence="CC BY 4.0",
  size="0.6 MB",
  count=500,
  metric="pass@1",
  title="MBPP",
  make=make,
  variants=("published", "instruct", "chat"),
  shots=3,
  most_shots=3,
  parity="lm-eval's prompts and rules of extraction",
)
