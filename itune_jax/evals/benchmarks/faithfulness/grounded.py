"""Answers from a source: is what the model says of a document supported by it, claim by claim?

`rows.jsonl` holds a `document` and what is asked of it (`instruction`, "Summarise this text." without). Each sentence
of the answer is judged beside each chunk of the document (about 350 words, as AlignScore cuts), and the chunk that
supports it best counts.
"""

from collections.abc import Iterator

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.evals import claims
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.faithfulness import schemes

FILE = "rows.jsonl"


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The rows; ids are their places, or their own."""
  for number, (where, row) in enumerate(folder.lines(FILE)):
    document = folders.field(row, "document", str, where)
    asked = row.get("instruction", "Summarise this text.")
    check.require(document.strip() and isinstance(asked, str) and asked, f"{where}: a text is empty, or is none")
    yield protocol.Item(
      id=str(row.get("id", number)),
      question=conversation.of(f"{asked}\n\n{document}"),
      shown={"document": document},
      where=where,
    )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark. Raises InputError without a judge."""
  judge = official.judge("grounded", settings)
  return protocol.Benchmark(
    name="grounded",
    items=lambda: items(folder),
    ask=official.generate(settings, limit=256, temperature=0.0),
    grade=claims.Claims(judge, lambda item, claim: schemes.chunks(item.shown["document"])),
    metrics=claims.METRICS,
    percent=False,
  )


BENCHMARK = official.Published(
  name="grounded",
  axis="faithfulness",
  title="Answers from a source, claim by claim",
  files=(FILE,),
  source="documents of your own",
  parity="SummaC's and AlignScore's aggregation, 100 to 500 answers",
  licence="yours",
  size="yours",
  metric="supported",
  judged=True,
  make=make,
)
