"""`itune reward`: what reward models say of answers: accuracy on pairs, by subset, and what the best of n is worth."""

from collections.abc import Sequence
import dataclasses
import json
from typing import Any

import numpy as np

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.data import example as example_lib
from itune_jax.data.readers import containers
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import pair_groups
from itune_jax.grading import reward_figures
from itune_jax.grading.judging import better_of_two
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.sampling import requests as requests_lib

Messages = Sequence[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Row:
  """Some answers to one prompt: what each is worth where that is known, and the subset that the row belongs to."""

  where: str
  example: example_lib.Example
  answers: tuple[Messages, ...]
  quality: tuple[float, ...]
  subset: str

  @property
  def is_pair(self) -> bool:
    """Whether one of two answers is preferred."""
    return bool(self.example.rejected)


Dropped = dict[str, list[str]]  # where rows stand that are none, by reason


def read(path: str) -> tuple[list[Row], Dropped]:
  """The rows of a file of pairs or of lists, and those that are none. Raises InputError without any."""
  found: list[Row] = []
  dropped: Dropped = {}
  raws = ((file, *row) for file in containers.files(path) for row in containers.rows(file))
  for file, line, raw in raws:
    where = f"{file}:{line}"
    try:
      raw = readers.object_of(raw)
      kind = "preference" if "chosen" in raw else "ranked"
      example = readers.parse({key: value for key, value in raw.items() if key != "subset"}, "", kind)
    except example_lib.BadRow as e:
      dropped.setdefault(str(e), []).append(where)
      continue
    subset = str(raw.get("subset") or "")
    if kind == "preference":
      found.append(Row(where, example, (example.messages, example.rejected), (1.0, 0.0), subset))
    else:
      quality = tuple(value["score"] for value in example.values)
      found.append(Row(where, example, (example.messages, *example.others), quality, subset))
  _require(found, path, dropped)
  return found, dropped


def _require(rows: Sequence[Row], path: str, dropped: Dropped) -> None:
  if not rows:
    why = "; ".join(f"{len(places)} × {reason}" for reason, places in dropped.items()) or "it has no rows"
    raise errors.InputError(f"{path} leaves no row to score: {why}")


def reward(
  *,
  model: specs.Model,
  rendering: chat.Rendering,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  precision: numerics.Precision,
  data: str = "",
  adapters: Sequence[str] = (),
  combine: str = "mean",
  caution: float = 1.0,
  verdict: bool = False,
  best_of: Sequence[int] = (1, 2, 4, 8),
  out: str = "",
) -> dict[str, Any]:
  """Scores the rows; returns figures. Raises InputError where the model, an adapter or the data cannot be had.

  model: the reward model, or the base of `adapters`. rendering: how conversations become tokens. mesh: how devices are
  laid out. precision: which dtype holds what. data: the file. adapters: trained reward models, several for an
  ensemble. combine: one reward of an ensemble's. caution: of the combination "cautious". verdict: whether a model of
  language is asked which of two answers is better. best_of: how many answers the best is taken of. out: a file for rows
  and scores.
  """
  rows, dropped = read(data)
  found = [adapters_lib.as_trained(model, rendering, one) if one else (model, rendering) for one in adapters or ("",)]
  if not verdict:
    rows = _that_render(rows, [rendering_lib.open_renderer(*one) for one in found], dropped)
    _require(rows, data, dropped)
  for reason, places in dropped.items():
    log.info(f"  dropped {len(places)} rows: {reason} ({places[0]}{', …' if len(places) > 1 else ''})")
  columns, cut = [], 0
  for adapter, (behind, how) in zip(adapters or ("",), found, strict=True):
    session = session_lib.open_session(behind, mesh=mesh, precision=precision, adapter=adapter)
    scores, cut = _verdicts(session, how, rows) if verdict else _scores(session, how, rows)
    columns.append(scores)
  each = np.stack(columns, axis=1)
  combined, spread = reward_figures.together(each, combine, caution)
  figures = _figures(rows, combined, best_of) | {
    "rows": len(rows),
    "dropped": sum(map(len, dropped.values())),
    "cut": cut,
  }
  if len(columns) > 1:
    figures["disagreement"] = float(spread.mean())
  if out:
    files.write_text(out, "".join(map(_line, rows, *_by_row(rows, combined, each))))
    log.info(f"wrote {out}")
  return figures


def _by_row(rows: Sequence[Row], *arrays: np.ndarray) -> list[list[Any]]:
  """Arrays by answer, as lists by row."""
  ends = np.cumsum([len(row.answers) for row in rows])[:-1]
  return [[part.tolist() for part in np.split(array, ends)] for array in arrays]


def _line(row: Row, rewards: Sequence[float], each: Sequence[Sequence[float]]) -> str:
  facts = {"where": row.where, "id": row.example.id, "subset": row.subset, "rewards": rewards, "each": each}
  return json.dumps(facts) + "\n"


def _that_render(rows: Sequence[Row], renderers: Sequence[chat.Renderer], dropped: Dropped) -> list[Row]:
  """The rows of which all reward models can read all answers; the others are dropped."""
  found = []
  for row in rows:
    try:
      for renderer in renderers:
        _rendered(renderer, row)
    except example_lib.BadRow as e:
      dropped.setdefault(str(e), []).append(row.where)
    else:
      found.append(row)
  return found


def _rendered(renderer: chat.Renderer, row: Row) -> list[chat.Rendered]:
  """All answers of a row. Raises BadRow."""
  plain = lambda messages: dataclasses.replace(row.example, messages=tuple(messages), rejected=(), others=(), values=())
  return [pair_groups.side(renderer, plain(one), f"answer {i}") for i, one in enumerate(row.answers)]


def _scores(session: session_lib.Session, rendering: chat.Rendering, rows: Sequence[Row]) -> tuple[np.ndarray, int]:
  """The score of every answer, and how many were cut at the rendering's length."""
  renderer = session.renderer(rendering)
  rendered = [one for row in rows for one in _rendered(renderer, row)]
  texts = [pair_groups.trimmed(one)[0].tolist() for one in rendered]
  with console.Bars("answers") as bars:
    bar = bars.add("score", total=len(texts))
    found = session.engine(bar.advance).rewards(texts)
  return found.mean(axis=1), sum(one.truncated for one in rendered)


def _verdicts(session: session_lib.Session, rendering: chat.Rendering, rows: Sequence[Row]) -> tuple[np.ndarray, int]:
  """Of each pair the log-odds that the first answer is the better one, over both orders: half of it for each side."""
  if any(not row.is_pair for row in rows):
    raise errors.InputError("--verdict compares two answers: give a file of pairs")
  responder = session.responder(session.renderer(rendering))
  asked = []
  for row in rows:
    answers = [example_lib.text(messages[-1]["content"]) for messages in row.answers]
    for order in (0, 1):
      text = better_of_two.question(row.example.prompt, answers[order], answers[1 - order])
      asked += [requests_lib.Pair(conversation.of(text), letter) for letter in better_of_two.LETTERS]
  found = np.array([score.logprob for score in responder.score(asked)]).reshape(-1, 2, 2)  # row, order, letter
  odds = better_of_two.log_odds(found)
  return np.stack([odds / 2, -odds / 2], axis=1).reshape(-1), 0


def _figures(rows: Sequence[Row], rewards: np.ndarray, best_of: Sequence[int]) -> dict[str, Any]:
  (by_row,) = _by_row(rows, rewards)
  found: dict[str, Any] = {}
  pairs = [i for i, row in enumerate(rows) if row.is_pair]
  if pairs:
    chosen, rejected = ([by_row[i][side] for i in pairs] for side in (0, 1))
    right = reward_figures.right(chosen, rejected)
    whole = reward_figures.accuracy(right)
    found |= {"accuracy": whole.value, "accuracy_low": whole.low, "accuracy_high": whole.high, "pairs": whole.n}
    found |= {"auc": reward_figures.auc(chosen, rejected), "margin": float(np.mean(np.subtract(chosen, rejected)))}
    subsets = [rows[i].subset for i in pairs]
    if any(subsets):
      by_subset = reward_figures.by_subset(right, subsets)
      found["subsets"] = {name: one._asdict() for name, one in by_subset.items()}
      found["reward_bench"] = reward_figures.sections(by_subset)
  lists = [i for i, row in enumerate(rows) if not row.is_pair]
  fits = lambda n: [i for i in lists if len(rows[i].answers) >= n]
  for n in best_of if lists else ():
    if fits(n):
      values = [reward_figures.best_of(by_row[i], rows[i].quality, n) for i in fits(n)]
      oracle = [reward_figures.best_of(rows[i].quality, rows[i].quality, n) for i in fits(n)]
      found[f"best_of_{n}"] = {
        "quality": float(np.mean(values)),
        "oracle": float(np.mean(oracle)),
        "kl": reward_figures.divergence(n),
        "prompts": len(values),
      }
  return found


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the figures."""
  return gin_setup.call(
    reward,
    data=args.data,
    adapters=tuple(args.adapter),
    combine=args.combine,
    caution=args.caution,
    verdict=args.verdict,
    best_of=tuple(sorted({int(n) for n in args.best_of.split(",")})),
    out=args.out,
  )
