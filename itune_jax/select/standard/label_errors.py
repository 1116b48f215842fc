"""Labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70).

A classifier on words (TF-IDF, logistic regression) gives each row probabilities of the labels, cross-fitted: by a model
that did not see the row. The threshold of a label is the mean probability that its own rows give it. A row whose label
is y is taken for an error when, of the labels whose threshold its probability reaches, the likeliest is another one.
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
from typing import Any, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.core import ranges
from itune_jax.select import row_texts
from itune_jax.select import select_protocol

linear_model = lazy.module("sklearn.linear_model")
feature_text = lazy.module("sklearn.feature_extraction.text")
pipeline = lazy.module("sklearn.pipeline")
model_selection = lazy.module("sklearn.model_selection")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelErrors(select_protocol.Step):
  """Drops or marks rows whose label is probably wrong; marked ones get `label_error`: the likelier label and both
  probabilities.

  label: the key that holds it. field: the text that it is about. folds: models, each fitted on the rows of the others.
  seed: of the folds. action: what becomes of such a row. Rows without a label, or whose label fewer rows than `folds`
  have, go on as they are, and are counted.
  """

  label: str
  field: str = row_texts.PROMPT
  folds: int = 5
  seed: ranges.Seed = 0
  action: Literal["drop", "mark"] = "mark"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.folds > 1, f"LabelErrors.folds = {self.folds}; it is 2 or more")

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Fits on all rows first."""
    labels, texts = [], []
    for row in rows:
      value = row.get(self.label)
      labels.append(str(value) if isinstance(value, (str, int, bool)) else "")
      texts.append(row_texts.get(row, self.field))
    counts = {name: labels.count(name) for name in set(labels) if name}
    fine = [i for i, name in enumerate(labels) if name and counts[name] >= self.folds]
    names = sorted({labels[i] for i in fine})
    if len(names) < 2:
      raise errors.InputError(
        f"LabelErrors: {self.label!r} has no two labels of {self.folds} rows each; it has {counts}"
      )
    given = np.asarray([names.index(labels[i]) for i in fine])
    probabilities = self._probabilities([texts[i] for i in fine], given)
    better = confident(probabilities, given)
    notes |= {"labels": names, "errors": int((better >= 0).sum())}
    at = {i: n for n, i in enumerate(fine)}
    for i, row in enumerate(rows):
      yield self._outcome(row, names, at.get(i), probabilities, given, better)

  def _outcome(self, row, names: Sequence[str], n: int | None, probabilities, given, better) -> select_protocol.Outcome:
    if n is None:
      return select_protocol.Outcome(row, marks=("label too rare or missing",))
    if better[n] < 0:
      return select_protocol.Outcome(row)
    if self.action == "drop":
      return select_protocol.dropped("label error")
    p, q = float(probabilities[n, given[n]]), float(probabilities[n, better[n]])
    found: dict[str, Any] = {"label": names[better[n]], "probability": round(q, 4), "given": round(p, 4)}
    return select_protocol.Outcome({**row, "label_error": found}, marks=("label error",))

  def _probabilities(self, texts: Sequence[str], given: np.ndarray) -> np.ndarray:
    """Of each label for each row, by models that did not see it [N, K]."""
    words = feature_text.TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=1)
    model = pipeline.make_pipeline(words, linear_model.LogisticRegression(C=10.0, max_iter=1000))
    folds = model_selection.StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
    return model_selection.cross_val_predict(model, list(texts), given, cv=folds, method="predict_proba")


def confident(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
  """For each row the label that it is confidently of in place of its own, or -1 [N].

  probabilities: [N, K]; given: [N].
  """
  thresholds = np.asarray([probabilities[given == k, k].mean() for k in range(probabilities.shape[1])])
  reached = np.where(probabilities >= thresholds, probabilities, -1.0)
  best = reached.argmax(axis=1)
  return np.where((reached.max(axis=1) >= 0) & (best != given), best, -1)
