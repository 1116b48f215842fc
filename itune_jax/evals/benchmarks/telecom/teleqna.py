"""TeleQnA: multiple choice on telecommunications, standards and research (Maatouk et al. 2023).

The file is the official TeleQnA.txt (JSON: {"question 0": {question, "option 1": …, answer: "option 2: …", category}}),
which lies in a password-protected archive, so that models are not trained on it by accident.
"""

from collections.abc import Iterator
import functools
import re

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import lettered
from itune_jax.evals import official
from itune_jax.evals import protocol

FILE = "TeleQnA.txt|TeleQnA*.json"
PROMPT = "Question: {}\n{}Answer:"
_OPTION = re.compile(r"option (\d+)")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions, tagged by category. Raises InputError for an answer that is none of the options."""
  path = folders.one_of(folder, FILE)
  for number, row in folder.object(path[len(folder.path) + 1 :]).items():
    where = f"{path}: {number}"
    question, answer = (folders.field(row, name, str, where) for name in ("question", "answer"))
    named = sorted((int(found[1]), name) for name in row if (found := _OPTION.fullmatch(name)))
    options = [folders.field(row, name, str, where) for _, name in named]
    right = _OPTION.match(answer)
    numbers = [one for one, _ in named]
    check.require(right and int(right[1]) in numbers, f"{where}: the answer {answer[:40]!r} names no option")
    yield lettered.item(
      options,
      numbers.index(int(right[1])) if right else -1,
      id=number,
      question=PROMPT.format(question, lettered.listed(options)),
      tags={"category": str(row.get("category", ""))},
      where=where,
    )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder."""
  return lettered.benchmark("teleqna", functools.partial(items, folder), settings, tags=("category",))


BENCHMARK = official.Published(
  name="teleqna",
  axis="telecom",
  title="TeleQnA",
  files=(FILE,),
  source="https://github.com/netop-team/TeleQnA",
  licence="MIT",
  size="5 MB",
  count=10000,
  metric="acc",
  make=make,
  variants=lettered.VARIANTS,
  subtask="category",
  format_only=True,
  parity="format only: the official script asks models of an endpoint and compares the option's number",
)
