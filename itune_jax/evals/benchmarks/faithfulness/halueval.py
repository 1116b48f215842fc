"""HaluEval (Li et al. 2023): does the model see what is made up?

| variant | files | what is asked |
|---|---|---|
| `general` | `general_data*` | of each response of a chat model, as people labelled it |
| `qa`, `dialogue`, `summarization` | `qa_data*` … | of the right and of the hallucinated text of each row |

The official script tosses a coin for each row of the last three, without a seed; here both texts of a row are asked,
which is what its figure is on average. An answer with both words or neither is wrong (`unread`), as there. The official
instructions are long prompts with examples, which the folder may hold (`qa_evaluation_instruction.txt` …); without them
one sentence asks. `general` has none of its own.
"""

from collections.abc import Iterator
import functools
from typing import Any

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.statistics import metrics as statistics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

GENERAL = "general_data*.json*"
# Of each variant: the source and the text of a row, and what the prompt calls them.
FIELDS = {
  "qa": ("question", "answer", "Question", "Answer"),
  "dialogue": ("dialogue_history", "response", "Dialogue History", "Response"),
  "summarization": ("document", "summary", "Document", "Summary"),
}
SYSTEM = {
  "qa": (
    "You are a huallucination detector. You MUST determine if the provided answer contains hallucination or not for "
    'the question based on the world knowledge. The answer you provided MUST be "Yes" or "No"'
  ),
  "dialogue": (
    "You are a response judge. You MUST determine if the provided response contains non-factual or hallucinated "
    'information. The answer you give MUST be "Yes" or "No"'
  ),
  "summarization": (
    "You are a summary judge. You MUST determine if the provided summary contains non-factual or hallucinated "
    'information. The answer you give MUST be "Yes" or "No"'
  ),
}
ASKED = 'Does the {} contain hallucinated information, which is false or follows from nothing? Say "Yes" or "No".'


def read(text: str) -> str | None:
  """Yes or No by the official script: the one of the words that stands in the answer; None where both or neither do."""
  plain = text.replace(".", "")
  found = [word for word in ("Yes", "No") if word in plain]
  return found[0] if len(found) == 1 else None


def items(folder: folders.Folder, variant: str) -> Iterator[protocol.Item]:
  """The rows of the variant's file."""
  if variant == "general":
    yield from _general(folder)
    return
  source, text, first, second = FIELDS[variant]
  name = f"{variant}_evaluation_instruction.txt"
  asked = folder.text(name) if folder.holds(name) else ASKED.format(text)
  for number, (where, row) in enumerate(folders.objects(folder.files(f"{variant}_data*.json*")[0])):
    given = folders.words(row, source, where)
    for kind, label in (("right", "No"), ("hallucinated", "Yes")):
      said = folders.field(row, f"{kind}_{text}", str, where)
      put = f"{asked}\n\n#{first}#: {given}\n#{second}#: {said}\n#Your Judgement#: "
      yield _item(f"{number}/{kind}", put, label, {"text": kind}, where, str(number), SYSTEM[variant])


def _general(folder: folders.Folder) -> Iterator[protocol.Item]:
  for number, (where, row) in enumerate(folders.objects(folder.files(GENERAL)[0])):
    asked, said, label = (
      folders.words(row, name, where) for name in ("user_query", "chatgpt_response", "hallucination")
    )
    check.require(label in ("yes", "no"), f"{where}: 'hallucination' is {label!r}: yes or no")
    put = f"{ASKED.format('response')}\n\n#Query#: {asked}\n#Response#: {said}\n#Your Judgement#: "
    yield _item(str(row.get("ID", number)), put, label.title(), {"text": label}, where, "", SYSTEM["dialogue"])


def _item(id: str, put: str, label: str, tags: dict[str, str], where: str, cluster: str, system: str) -> protocol.Item:
  messages = ({"role": "system", "content": system}, {"role": "user", "content": put})
  asked = conversation.Conversation(messages)
  return protocol.Item(id=id, question=asked, answer=label, tags=tags, where=where, cluster=cluster)


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """Whether the verdict is the label; the pair of both for the balanced figure."""
  said = read(answer.text)
  values: dict[str, Any] = {
    "acc": said == item.answer,
    "balanced_accuracy": [item.answer, said],
    "unread": said is None,
  }
  return protocol.Graded(values, {"read": said})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the variant's file."""
  return protocol.Benchmark(
    name="halueval",
    items=functools.partial(items, folder, settings.variant),
    ask=official.generate(settings, limit=16, temperature=0.0),
    grade=protocol.each(grade),
    metrics={
      "acc": statistics.Mean(),
      "balanced_accuracy": pair_metrics.BalancedAccuracy(),
      "unread": statistics.Mean("lower"),
    },
    tags=("text",),
  )


BENCHMARK = official.Published(
  name="halueval",
  axis="faithfulness",
  title="HaluEval: made-up information is seen",
  files=("*_data*.json*",),
  source="https://github.com/RUCAIBox/HaluEval (data)",
  parity="the official string match, 900 answers",
  licence="MIT",
  size="3 MB (general), 10 to 60 MB",
  count=0,
  metric="acc",
  variants=("general", *FIELDS),
  subtask="text",
  make=make,
)
