"""Scores of rows: their formulas, which tokens they see, and that no row is scored by what saw it."""

import dataclasses
import itertools
import math
import pathlib
import types

import gin
import numpy as np
import pytest
import scipy.special

from itune_jax.core import errors
from itune_jax.data.render import chat
from itune_jax.run import gin_setup
from itune_jax.run.commands import select as select_command
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.score import on_tokens
from itune_jax.select import baselines
from itune_jax.select import score_table
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers
from itune_jax.select.scores import asked
from itune_jax.select.scores import deita
from itune_jax.select.scores import density
from itune_jax.select.scores import ifd
from itune_jax.select.scores import length
from itune_jax.select.scores import less
from itune_jax.select.scores import metarater
from itune_jax.select.scores import min_k
from itune_jax.select.scores import prrc
from itune_jax.select.scores import pvi
from itune_jax.select.scores import rated
from itune_jax.select.scores import ratings
from itune_jax.select.scores import rds

SIBLINGS = sorted((pathlib.Path(__file__).parent.parent.parent / "gin_configs/data/select").glob("*.gin"))
WORDS = ["red", "blue", "green", "tall", "short", "warm", "cold", "near", "far", "old"]


def row(i, turns=1):
  said = lambda side, t: " ".join(WORDS[(i * 7 + t * 3 + k) % 10] for k in range(3 + (i + side) % 5))
  messages = []
  for t in range(turns):
    messages += [{"role": "user", "content": said(0, t)}, {"role": "assistant", "content": said(1, t)}]
  return {"messages": [{"role": "system", "content": "Be brief."}, *messages], "id": str(i)}


ROWS = [row(i, 1 + i % 3) for i in range(40)]


@pytest.fixture(scope="module")
def renderer(smollm2_tokenizer):
  return chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=256))


class Told(asked.Asked):
  """A model of numbers: the nats of a token are a function of it and of the two before it, and of its name."""

  def __init__(self, renderer, name="base", targets=(), trained=None):
    self._name, self.targets, self._renderer = name, targets, renderer
    self.trained = {} if trained is None else trained
    self.identity = {"name": name}
    self.responder = types.SimpleNamespace()

  @property
  def engine(self):
    return types.SimpleNamespace(max_length=256, losses=self._losses, pooled=self._pooled, score=self._score)

  @property
  def renderer(self):
    return self._renderer

  def _losses(self, items):
    salt = sum(map(ord, self._name))
    nats = lambda ids: 0.5 + ((ids[2:] * 31 + ids[1:-1] * 17 + ids[:-2] * 7 + salt) % 97) / 97
    padded = [np.r_[0, 0, np.asarray(item.ids, np.int64)] for item in items]
    return [on_tokens.Losses(nats(ids)[item.weights != 0], None) for ids, item in zip(padded, items, strict=True)]

  def _pooled(self, texts, weigh):
    return np.stack([np.bincount(np.asarray(ids) % 24, weights=weigh(len(ids)), minlength=24) for ids in texts])

  def _score(self, pairs):
    return [types.SimpleNamespace(logprob=-float((sum(c) * 13 + d[0] * 5) % 11)) for c, d in pairs]

  def other(self, model):
    return Told(self._renderer, model, self.targets, self.trained)

  def tuned(self, name, items, how):
    self.trained[name] = items
    return asked.Tuned(self.other(name), ())

  def progress(self, what, total):
    return self

  def tokens(self, rows):
    return np.array([sum(len(i.ids) for i in answers.of(self._renderer, one).given) for one in rows])


def test_both_passes_score_the_same_ids(renderer):
  """The answer and its turn's end, behind the rendered prompt and behind the header alone: no system or user turn."""
  header = renderer.encode("<|im_start|>assistant\n")
  end = renderer.encode("<|im_end|>")
  for one in ROWS:
    found = answers.of(renderer, one)
    (item,) = found.given
    said = [m["content"] for m in one["messages"] if m["role"] == "assistant"]
    assert len(found.alone) == len(said)
    assert np.array_equal(np.concatenate([a.ids[len(header) :] for a in found.alone]), item.ids[item.weights != 0])
    for alone, text in zip(found.alone, said, strict=True):
      assert alone.ids.tolist() == [*header, *renderer.encode(text), *end]
      assert alone.weights.tolist() == [0] * len(header) + [1] * (len(alone.ids) - len(header))


def test_ratios_are_those_of_the_papers(renderer):
  """IFD is the ratio of mean nats, Superfiltering that of perplexities; what is above 1 has no number."""
  told = Told(renderer)
  plain = ifd.Ifd(most=0.0).score(ROWS, told)
  for one, value in zip(ROWS, plain, strict=True):
    found = answers.of(renderer, one)
    means = [np.concatenate([x.nats for x in told.engine.losses(items)]).mean() for items in found]
    assert value == pytest.approx(means[0] / means[1], rel=1e-9)
    small = ifd.Superfilter(model="", most=0.0).score([one], told)
    assert small[0] == pytest.approx(math.exp(means[0]) / math.exp(means[1]), rel=1e-9)
  kept = ifd.Ifd().score(ROWS, told)
  assert np.array_equal(np.isnan(kept), plain > 1) and 0 < np.isnan(kept).sum() < len(ROWS)


def test_pvi_scores_no_row_by_what_saw_it(renderer):
  """Two adapters a fold, tuned with and without inputs on the rows of the other folds; equal rows are in one fold."""
  told, rows = Told(renderer), [*ROWS, *(dict(one, id="again") for one in ROWS[:10])]
  values = pvi.Pvi(folds=3).score(rows, told)
  ids = lambda items: {item.ids.tobytes() for item in items}
  found = answers.all_of(renderer, rows)
  assert sorted(told.trained) == sorted(f"pvi.{side}.{k}" for side in ("given", "alone") for k in range(3))
  for one, value in zip(found, values, strict=True):
    unseen = [k for k in range(3) if not ids(one.given) & ids(told.trained[f"pvi.given.{k}"])]
    assert len(unseen) == 1
    sums = [
      sum(x.nats.sum() for x in told.other(f"pvi.{side}.{unseen[0]}").engine.losses(items))
      for side, items in (("given", one.given), ("alone", one.alone))
    ]
    assert value == pytest.approx((sums[1] - sums[0]) / math.log(2), rel=1e-9)
  assert np.array_equal(values[:10], values[40:])
  with pytest.raises(errors.InputError, match="leave fold . of 2 empty"):
    pvi.Pvi().score(ROWS[:1], told)


def test_rating_is_a_softmax_over_the_ratings_alone(renderer):
  rs = np.random.RandomState(0)
  logits, worths = rs.randn(5, 6) * 4, np.arange(1.0, 7.0)
  wanted = (scipy.special.softmax(logits, axis=-1) * worths).sum(-1)
  assert np.allclose(ratings.expectation(logits, worths), wanted, rtol=1e-12)
  told = Told(renderer)
  both = [deita.Deita(by=by).score(ROWS, told) for by in ("complexity", "quality", "both")]
  single = [i for i in range(len(ROWS)) if i % 3 == 0]  # of one turn: the product of the two
  assert np.allclose(both[2][single], both[0][single] * both[1][single])
  two = ROWS[1]
  turns = [{"messages": two["messages"][at : at + 2]} for at in (1, 3)]
  assert both[2][1] == pytest.approx(deita.Deita().score(turns, told).sum())
  with pytest.raises(errors.InputError, match="writes the rating '10' as 2 tokens"):
    ratings.token(told, "10")


def test_min_k_is_the_mean_of_the_lowest():
  z = np.random.RandomState(1).randn(41)
  assert min_k.lowest_mean(z, 20) == pytest.approx(np.sort(z)[:8].mean())
  assert min_k.lowest_mean(z[:3], 20) == z[:3].min()


def test_round_robin_gives_each_target_its_nearest_in_turn(renderer):
  like = np.random.RandomState(2).rand(30, 4)
  order = rds.round_robin(like)
  left = set(range(30))
  for place, m in zip(order, itertools.cycle(range(4)), strict=False):
    assert place == max(left, key=lambda i, m=m: like[i, m])
    left.remove(int(place))
  told = Told(renderer, targets=ROWS[:2])
  values = rds.Rds().score(ROWS, told)
  assert set(np.argsort(-values)[:2]) == {0, 1}, "a row of the task itself is nearest"
  with pytest.raises(errors.InputError, match="give them with --targets"):
    rds.Rds().score(ROWS, Told(renderer))


def test_subtasks_may_have_any_size():
  products = np.random.RandomState(3).randn(6, 7)
  tasks = list("aababcb")
  wanted = [max(np.mean([r[k] for k in range(7) if tasks[k] == t]) for t in "abc") for r in products]
  assert np.allclose(less.over_subtasks(products, tasks), wanted)


def test_density_leaves_the_row_itself_out():
  v = np.random.RandomState(4).randn(50, 8).astype(np.float32)
  v /= np.linalg.norm(v, axis=1, keepdims=True)
  cosines = v @ v.T - 9 * np.eye(50)
  assert np.allclose(density.nearest_mean(v, 5), np.sort(cosines, axis=1)[:, -5:].mean(axis=1), atol=1e-6)
  assert np.isnan(density.nearest_mean(v[:1], 5)).all()


@pytest.mark.parametrize("regression", ["ridge", pytest.param("lightgbm", marks=pytest.mark.heavy)])
def test_meta_rater_finds_weights_of_low_loss(regression):
  """The loss of the weights that are found is below that of nearly all that were drawn."""
  best = np.array([0.6, 0.3, 0.1])
  loss = lambda w: ((w - best) ** 2).sum(axis=-1)
  drawn = metarater.dirichlet(128, 3, seed=0)
  found = metarater.weights(drawn, loss(drawn), 20_000, 64, regression)
  assert found.sum() == pytest.approx(1) and (loss(drawn) < loss(found)).mean() < 0.05
  assert np.array_equal(found, metarater.weights(drawn, loss(drawn), 20_000, 64, regression))
  assert np.array_equal(drawn[:5], metarater.dirichlet(5, 3, seed=0)), "more proxies go on from fewer"


def test_meta_rater_trains_a_proxy_for_each_draw(renderer):
  told = Told(renderer, targets=ROWS[:4])
  parts = (length.Length(), ifd.Ifd(most=0.0))
  value = metarater.MetaRater(scores=parts, proxies=6, samples=500, best_of=10, share=0.25, regression="ridge")
  values = value.score(ROWS, told)
  assert len(told.trained) == 6 and all(len(items) == 10 for items in told.trained.values())
  assert values.shape == (40,) and values.min() >= 0 and values.max() <= 5


def test_baselines_hang_on_content_alone():
  one, other = length.Random(seed=1).score(ROWS, None), length.Random(seed=2).score(ROWS, None)
  assert np.array_equal(length.Random(seed=1).score(ROWS[::-1], None), one[::-1]) and not np.allclose(one, other)
  assert 0.3 < one.mean() < 0.7
  scored = [dict(r, scores={"ifd": 0.5}) for r in ROWS]
  assert np.array_equal(length.Random(seed=1).score(scored, None), one), "scores of before are no content"
  words = length.Length(unit="words").score([*ROWS, {"no": "example"}], None)
  assert np.isnan(words[-1]) and words[0] == len(ROWS[0]["messages"][2]["content"].split())


def test_baselines_are_reported_beside_a_selection(renderer):
  told, kept = Told(renderer, targets=ROWS[:2]), np.array([0, 3, 5])
  found = {"length": length.Length().score(ROWS, None)}
  taken = baselines.chosen(ROWS, kept, 0, told, select_protocol.Budget(rows=3), found)
  report = baselines.report(taken, kept, found)
  assert list(report) == ["selection", "random", "longest", "rds"] and all(len(x) == 3 for x in taken.values())
  assert report["longest"]["means"]["length"] == np.sort(found["length"])[-3:].mean()
  assert report["rds"]["of_them_kept"] >= 1 / 3 and report["selection"]["of_them_kept"] == 1
  without = baselines.chosen(ROWS, kept, 0, None, select_protocol.Budget(rows=3), found)
  assert "--targets" in without["rds"]


class Says(requests_lib.Responder):
  """Answers from a list."""

  def __init__(self, *said):
    self.said = said

  def answer(self, requests, progress=lambda n: None):
    return [
      requests_lib.Response(r.id, (requests_lib.Sample(text, "stop"),))
      for r, text in zip(requests, self.said, strict=True)
    ]


@pytest.mark.parametrize(
  ("dimension", "said", "value"),
  [
    ("reasoning", "A chain of steps.\nReasoning: 4", 4.0),
    ("reasoning", "Reasoning: {total points}\nReasoning: 2", 2.0),
    ("professionalism", "Simple text. Professionalism:1", 1.0),
    ("readability", "**Readability:** 3.5", 3.5),
    ("cleanliness", "Overall Cleanliness:\n5===Correct Formatting:4===Reason:fine===", 5.0),
    ("reasoning", "Reasoning: 7", math.nan),
    ("reasoning", "I cannot rate this.", math.nan),
  ],
)
def test_ratings_of_meta_raters_dimensions(dimension, said, value):
  ask = types.SimpleNamespace(responder=Says(said))
  found = prrc.Prrc(dimension=dimension).score(ROWS[:1], ask)
  assert np.array_equal(found, [value], equal_nan=True)


def test_judge_and_reward():
  ask = types.SimpleNamespace(responder=Says("4", "no idea", "9"))
  found = rated.Judged(by="text").score([*ROWS[:3], {"no": "example"}], ask)
  assert np.array_equal(found, [4, np.nan, np.nan, np.nan], equal_nan=True)
  by = rated.Reward(function=lambda examples: [len(one.answer) for one in examples])
  assert by.score([ROWS[0], {}], None)[0] == len(ROWS[0]["messages"][2]["content"])
  with pytest.raises(errors.InputError, match="one number for each"):
    rated.Reward(function=lambda examples: [1.0]).score(ROWS[:2], None)
  with pytest.raises(errors.InputError, match="compares two answers"):
    rated.Judged(prompt="arena")


def test_scores_without_their_model_are_refused_in_one_line():
  for name in score_table.SCORES:
    score = score_table.find(name)
    assert score.name == name
    if score.needs == "model":
      with pytest.raises(errors.InputError, match="--base"):
        score.score(ROWS[:1], None)


@pytest.mark.parametrize("path", SIBLINGS, ids=lambda p: p.stem)
def test_siblings_build(path):
  gin_setup.parse("select", [str(path)], [], light=True)
  try:
    found = []
    kept = lambda selection, *args, **given: found.append(selection) or {}
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr("itune_jax.select.selecting.select", kept)
      gin_setup.call(select_command.select, source="x", output="y")
    (selection,) = found
    assert isinstance(selection, select_protocol.Selection) and dataclasses.asdict(selection)
  finally:
    gin.clear_config()
