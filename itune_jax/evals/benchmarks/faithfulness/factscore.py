"""FActScore over a corpus of one's own (Min et al. 2023): how much of what a model writes of a topic is supported.

`topics.jsonl` holds topics (`topic`, and a `prompt` of its own where "Tell me a bio of TOPIC." is none); `corpus.jsonl`
passages (`title`, `text`). Each claim of an answer is judged beside the five passages that BM25 finds for topic and
claim, among those with the topic as their title where there are some. Claims are sentences, where the authors ask a
model for atomic facts, so a figure is to be compared with others made here, and not with published ones.
"""

from collections.abc import Iterator
import functools

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.evals import claims
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.faithfulness import bm25

TOPICS, CORPUS = "topics.jsonl", "corpus.jsonl"
PASSAGES = 5


class Corpus:
  """The passages of a folder, read and indexed when the first claim is looked up."""

  def __init__(self, folder: folders.Folder):
    self._folder = folder

  @functools.cached_property
  def _read(self) -> tuple[list[str], dict[str, list[int]], bm25.Index]:
    texts, by_title = [], {}
    for where, row in self._folder.lines(CORPUS):
      title, text = (folders.field(row, name, str, where) for name in ("title", "text"))
      by_title.setdefault(title, []).append(len(texts))
      texts.append(f"Title: {title}\nText: {text}")
    check.require(texts, f"{self._folder.path}/{CORPUS}: holds no passage")
    return texts, by_title, bm25.Index(texts)

  def __call__(self, item: protocol.Item, claim: str) -> list[str]:
    """The passages for a claim, the best first."""
    texts, by_title, index = self._read
    topic = str(item.answer)
    return [texts[place] for place in index.best(f"{topic} {claim}", PASSAGES, by_title.get(topic))]


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The topics, by their names."""
  for where, row in folder.lines(TOPICS):
    topic = folders.field(row, "topic", str, where)
    prompt = row.get("prompt", f"Tell me a bio of {topic}.")
    check.require(isinstance(prompt, str) and prompt, f"{where}: 'prompt' must be a text")
    tags = {"category": str(row["category"])} if "category" in row else {}
    yield protocol.Item(id=topic, question=conversation.of(prompt), answer=topic, tags=tags, where=where)


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark. Raises InputError without a judge."""
  judge = official.judge("factscore", settings)
  return protocol.Benchmark(
    name="factscore",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=512, temperature=0.0),
    grade=claims.Claims(judge, Corpus(folder), each=False),
    metrics=claims.METRICS,
    tags=("category",),
    percent=False,
  )


BENCHMARK = official.Published(
  name="factscore",
  axis="faithfulness",
  title="FActScore-style precision over a corpus",
  files=(TOPICS, CORPUS),
  source="topics and passages of your own (https://github.com/shmsw25/FActScore for the authors')",
  parity="FActScore's formula, 500 answers",
  licence="yours",
  size="yours",
  metric="fact_score",
  judged=True,
  format_only=True,
  make=make,
)
