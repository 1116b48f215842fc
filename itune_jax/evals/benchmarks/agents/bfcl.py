"""BFCL v4: function calls in Python, checked by their syntax tree (Patil et al. 2025).

The files are those of the wheel `bfcl-eval`, which is looked into where it is installed (`pip install --no-deps
bfcl-eval`). Functions stand in the leaderboard's own system prompt for models without a format of their own.

| group | categories | right is |
|---|---|---|
| non_live | simple_python, multiple, parallel, parallel_multiple | the possible calls |
| live | live_simple, live_multiple, live_parallel, live_parallel_multiple | the same |
| relevance | irrelevance, live_irrelevance; live_relevance | no call; any call |

`undecoded` is the share of answers to the first two groups that are no list of calls. Java and JavaScript, several
turns, memory and web search are not here: they are checked by parsers and by running the leaderboard's own programs.
"""

from collections.abc import Iterator, Mapping
import functools
import json
from typing import Any

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import bfcl
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

GROUPS = {
  "non_live": ("simple_python", "multiple", "parallel", "parallel_multiple"),
  "live": ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
  "relevance": ("irrelevance", "live_irrelevance", "live_relevance"),
}
HINT = " Note that the provided function is in Python 3 syntax."
# The leaderboard's system prompt, of bfcl_eval/constants/default_prompts.py in its default form.
PROMPT = (
  "You are an expert in composing functions.You are given a question and a set of possible functions. Based on the "
  "question, you will need to make one or more function/tool calls to achieve the purpose. If none of the functions "
  "can be used, point it out. If the given question lacks the parameters required by the function, also point it "
  "out.\n\nYou should only return the function calls in your response.\n\nIf you decide to invoke any of the "
  "function(s), you MUST put it in the format of [func_name1(params_name1=params_value1, params_name2=params_value2...)"
  ", func_name2(params)].  You SHOULD NOT include any other text in the response.\n\nAt each turn, you should try your "
  "best to complete the tasks requested by the user within the current turn. Continue to output functions to call "
  "until you have fulfilled the user's request to the best of your ability. Once you have no more functions to call, "
  "the system will consider the current turn complete and proceed to the next turn or task.\n\nHere is a list of "
  "functions in json format that you can invoke.\n{functions}\n\n"
)


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of all categories. Raises InputError for one without answers, or whose function is not described."""
  for group, categories in GROUPS.items():
    for category in categories:
      name = f"BFCL_v4_{category}.json"
      answers = {} if group == "relevance" else _answers(folder, name)
      for where, row in folder.lines(name):
        id = folders.field(row, "id", str, where)
        check.require(group == "relevance" or id in answers, f"{where}: possible_answer/{name} has nothing for {id}")
        yield _item(row, id, {"group": group, "category": category}, answers.get(id, []), where)


def _answers(folder: folders.Folder, name: str) -> dict[str, list[Any]]:
  rows = folder.lines(f"possible_answer/{name}")
  return {folders.field(row, "id", str, where): folders.field(row, "ground_truth", list, where) for where, row in rows}


def _item(row: dict[str, Any], id: str, tags: Mapping[str, str], answers: list[Any], where: str) -> protocol.Item:
  functions = [
    {**one, "description": f"{one['description']}{HINT}"} for one in folders.field(row, "function", list, where)
  ]
  described = {one["name"] for one in functions}
  for answer in answers:
    check.require(next(iter(answer)) in described, f"{where}: no function {next(iter(answer))!r} is described")
  try:
    (turn,) = folders.field(row, "question", list, where)
  except ValueError:
    raise errors.InputError(f"{where}: has several turns; these categories have one") from None
  own = turn[0]["content"] if turn[0]["role"] == "system" else ""
  system = PROMPT.format(functions=json.dumps(functions, indent=4))
  messages = ({"role": "system", "content": f"{system}\n\n{own}" if own else system}, *turn[bool(own) :])
  return protocol.Item(
    id=id,
    question=conversation.Conversation(messages),
    answer={"functions": functions, "answers": answers},
    tags=tags,
    where=where,
  )


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """The leaderboard's verdict on the first sample."""
  category, calls = str(item.tags["category"]), bfcl.decoded(answer.text)
  if item.tags["group"] == "relevance":
    is_empty = bfcl.is_empty(calls)
    return protocol.Graded({"acc": is_empty if category.endswith("irrelevance") else not is_empty, "undecoded": None})
  good = calls is not None and bfcl.right(category, item.answer["functions"], calls, item.answer["answers"])
  return protocol.Graded({"acc": good, "undecoded": calls is None}, {"calls": calls})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of the wheel's folder `data`."""
  return protocol.Benchmark(
    name="bfcl",
    items=functools.partial(items, folder),
    ask=official.generate(settings, limit=512, temperature=0.0),
    grade=protocol.each(grade),
    metrics={"acc": metrics_lib.Mean(), "undecoded": metrics_lib.Mean("lower")},
    tags=("group", "category"),
  )


BENCHMARK = official.Published(
  name="bfcl",
  axis="agents",
  title="BFCL v4: function calls in Python",
  files=("BFCL_v4_*.json", "possible_answer/BFCL_v4_*.json"),
  source="https://pypi.org/project/bfcl-eval",
  package="bfcl_eval",
  licence="Apache-2.0",
  size="20 MB",
  metric="acc",
  make=make,
  subtask="category",
  parity="bfcl-eval's decoder, prompt and AST checker: all stored answers and a perturbed one of each",
)
