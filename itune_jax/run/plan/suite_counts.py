"""How much a suite asks: the positions of its prompts and the tokens of its answers, counted without a model.

The benchmarks' own ways of asking are run on a responder that counts. Tokens are estimated from bytes, since the shapes
of a model come without its tokenizer.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import NamedTuple

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import suite as suite_lib
from itune_jax.evals.benchmarks import registry
from itune_jax.sampling import requests as requests_lib

BYTES = 4  # UTF-8 bytes a token, about what English text has under vocabularies of 100,000 tokens and more
TURN = 8  # tokens that a template puts around a turn
# What a benchmark is taken to be whose files are not there: items where their number is open, positions of a prompt,
# choices of each question and their tokens.
ITEMS, POSITIONS, CHOICES, CHOICE = 500, 512, 4, 8

ASSUMES = (
  f"a token is {BYTES} bytes of text, and a template puts {TURN} tokens around a turn",
  "every answer runs to its limit, so times are at most so long; an agent takes one step",
  "nothing else takes time: compilation, tokenizing, grading and judges come on top",
)
DEFAULTS = (
  f"where files are not there: the official number of items (or {ITEMS}), {POSITIONS} positions a prompt, "
  f"and {CHOICES} choices of {CHOICE} tokens"
)


class Counts(NamedTuple):
  """What a benchmark asks. items: how many. prompts: positions of prompts that are answered. new: tokens of answers.
  longest: of the longest answer. contexts: positions that several continuations stand behind; behind: of these, first
  tokens left out, which cost nothing. alone: positions of what is scored as a whole. from_files: whether they were
  counted, or are what is assumed of a benchmark without files."""

  items: int
  prompts: int = 0
  new: int = 0
  longest: int = 0
  contexts: int = 0
  behind: int = 0
  alone: int = 0
  from_files: bool = True


@dataclasses.dataclass
class Counter(requests_lib.Responder):
  """Answers each request with as much text as it may have, and counts. room: positions that the model knows. limit: of
  answers whose request sets none."""

  room: int
  limit: int
  found: Counts = Counts(0)

  def answer(self, requests, progress=lambda n: None):
    """Texts of as many words as there may be tokens."""
    requests_lib.unique(requests)
    limits = [min(self.limit, one.limit or self.limit) + one.thinking for one in requests]
    prompts = [tokens(one.conversation) for one in requests]
    limits = [max(1, min(limit, self.room - prompt)) for limit, prompt in zip(limits, prompts, strict=True)]
    self.found = self.found._replace(
      prompts=self.found.prompts + sum(prompts),
      new=self.found.new + sum(one.n * limit for one, limit in zip(requests, limits, strict=True)),
      longest=max(self.found.longest, *limits),
    )
    said = lambda one, limit: (requests_lib.Sample("so. " * limit, "length"),) * one.n
    return [requests_lib.Response(one.id, said(one, limit)) for one, limit in zip(requests, limits, strict=True)]

  def fits(self, asked, new):
    """Whether its estimate does."""
    return tokens(asked) + new <= self.room

  def score(self, pairs, progress=lambda n: None):
    """As `sampling.score` runs them: a context that several share once, and all others as a whole."""
    behind: dict[str, list[int]] = {}
    size: dict[str, int] = {}
    for pair in pairs:
      key = repr(pair.context)
      size.setdefault(key, tokens(pair.context))
      behind.setdefault(key, []).append(tokens(pair.continuation))
    contexts = later = alone = 0
    for key, each in behind.items():
      if len(each) > 1:
        contexts, later = contexts + size[key], later + sum(n - 1 for n in each)
      else:
        alone += size[key] + each[0]
    found = self.found
    self.found = found._replace(
      contexts=found.contexts + contexts, behind=found.behind + later, alone=found.alone + alone
    )
    return [requests_lib.Score(0.0, True, 1)] * len(pairs)

  def rolling(self, texts, progress=lambda n: None):
    """Whole texts, window by window."""
    self.found = self.found._replace(alone=self.found.alone + sum(map(tokens, texts)))
    return [requests_lib.Score(0.0, True, tokens(text)) for text in texts]


def tokens(asked: conversation_lib.Conversation | str) -> int:
  """About how many tokens a prompt or a text has; one at least."""
  if isinstance(asked, str):
    return max(1, math.ceil(len(asked.encode()) / BYTES))
  return sum(TURN + tokens(_text(message.get("content"))) for message in asked.messages)


def _text(content: object) -> str:
  if isinstance(content, str):
    return content
  parts = content if isinstance(content, Sequence) else ()
  return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def counted(suite: suite_lib.Suite, room: int) -> dict[str, Counts]:
  """What each benchmark of a suite asks. room: positions that the model knows. Raises InputError for a name or settings
  that there are not, and for files that cannot be read; files that are not there are none."""
  found = {}
  for name in suite.names:
    published, settings = registry.find(name), suite.settings.get(name, suite.common)
    try:
      published.folder(official.roots(suite.data))
    except errors.InputError:
      found[published.name] = _assumed(published, settings, suite.decode.max_new_tokens, room)
      continue
    counter = Counter(room, suite.decode.max_new_tokens)
    found[published.name] = _asked(published.benchmark(official.roots(suite.data), settings), counter)
  return found


def _asked(benchmark: protocol.Benchmark, counter: Counter) -> Counts:
  """Asks all items of the counter."""
  items = [benchmark.ask.fit(item, counter) for item in benchmark.items()]
  benchmark.ask(items, counter, lambda n: None)
  return counter.found._replace(items=len(items))


def _assumed(published: official.Published, settings: official.Settings, most: int, room: int) -> Counts:
  """What a benchmark without files is taken to ask; `make` reads none."""
  checked = published.checked(settings)
  benchmark = published.make(folders.Folder(""), checked)
  items = min(settings.limit or math.inf, published.count or ITEMS)
  question = protocol.Item(
    id="0", question="so. " * POSITIONS, choices=("so. " * CHOICE, "no. " * CHOICE) * (CHOICES // 2)
  )
  counter = Counter(room, most)
  if isinstance(benchmark.ask, protocol.Pooled):
    one = _asked(dataclasses.replace(benchmark, items=lambda: [question]), counter)
  else:
    counter.answer([requests_lib.Request(conversation=str(question.question), id="0")])
    one = counter.found
  return Counts(
    int(items), *(int(items) * n for n in one[1:3]), one.longest, *(int(items) * n for n in one[4:7]), False
  )
