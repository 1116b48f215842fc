"""Datasets of Grain as a user writes them: one with an index, one without, one that ends, one that is no dataset."""

import grain

ROWS = [{"question": f"What is {n} and {n % 7}?", "answer": f"{n + n % 7}. " * (1 + n % 5)} for n in range(60)]
ROWS[17] = {"question": "This one has no answer."}


def indexed():
  """Shuffled anew in each epoch, without end."""
  return grain.MapDataset.source(ROWS).seed(3).shuffle().repeat()


def streamed():
  """A stream with a window that shuffles, and elements that draw."""
  drawn = lambda row, rng: {**row, "question": f"{row['question']} {rng.integers(1000)}"} if "answer" in row else row
  stream = grain.MapDataset.source(ROWS).seed(5).random_map(drawn).repeat().to_iter_dataset()
  return stream.filter(lambda row: row["question"][8] != "9")


def ends():
  """One pass."""
  return grain.MapDataset.source(ROWS)


def nothing():
  """No example."""
  return grain.MapDataset.source([{"text": "x"}] * 5)


def number():
  """No dataset."""
  return 3
