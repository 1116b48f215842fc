"""Sampling controls against their formulas by hand, and as decoding applies them."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.sampling.decode import choose
from itune_jax.sampling.decode import controls
from itune_jax.sampling.decode import decode as decode_lib
from tests import tiny

V = 12
rs = np.random.RandomState(0)
LOGITS = rs.randn(4, V).astype(np.float32) * 3
PROMPTS = [rs.randint(0, 60, n).tolist() for n in (9, 20, 5, 12)]


def by_hand(logits, prompt, said, how: controls.Sampling, stops):
  """One row, as transformers and OpenAI write it."""
  logits = np.asarray(logits, np.float64).copy()
  for token in {*prompt, *said}:
    logits[token] = (
      logits[token] * how.repetition_penalty if logits[token] < 0 else logits[token] / how.repetition_penalty
    )
  for token in set(said):
    logits[token] -= how.presence_penalty + how.frequency_penalty * said.count(token)
  for token in (*how.banned, *(stops if len(said) < how.min_new_tokens else ())):
    logits[token] = -math.inf
  return logits


def shares(logits, how: controls.Sampling):
  """What a row draws from: temperature, top-k, top-p, min-p."""
  p = np.exp((logits - logits.max()) / how.temperature)
  if how.top_k:
    p[p < np.sort(p)[-min(how.top_k, len(p))]] = 0
  p /= p.sum()
  order = np.argsort(-p, kind="stable")
  p[order[1:][np.cumsum(p[order])[:-1] >= how.top_p]] = 0
  p[p < how.min_p * p.max()] = 0
  return p / p.sum()


SETTINGS = [
  controls.Sampling(temperature=1.0, repetition_penalty=1.7),
  controls.Sampling(temperature=0.7, presence_penalty=1.5, frequency_penalty=0.4, banned=(3, 7), top_k=5),
  controls.Sampling(temperature=1.3, min_new_tokens=4, top_p=0.8, frequency_penalty=-0.3),
  controls.Sampling(temperature=1.0, repetition_penalty=0.8, presence_penalty=-1.0, min_p=0.2, top_k=9, top_p=0.9),
]
SEEN, SAID, STOPS = ([1, 2, 2], [], [5], list(range(6))), ([4, 4, 1], [3, 0, 0, 0], [2], [6, 6]), (0, 9)


def arrays(settings):
  made = controls.of_rows(settings, controls.kind_of(settings))
  seen, counts = np.zeros((len(settings), V), bool), np.zeros((len(settings), V), np.int32)
  for row, (prompt, said) in enumerate(zip(SEEN, SAID, strict=True)):
    seen[row, prompt] = True
    np.add.at(counts[row], said, 1)
  return made._replace(penalties=made.penalties._replace(seen_BV=seen, counts_BV=counts))


def test_logits_are_edited_by_their_formulas():
  count_B = jnp.asarray(list(map(len, SAID)))
  found = np.asarray(choose.edited(LOGITS, jax.tree.map(jnp.asarray, arrays(SETTINGS)), count_B, jnp.asarray(STOPS)))
  expected = [by_hand(*given, STOPS) for given in zip(LOGITS, SEEN, SAID, SETTINGS, strict=True)]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("row", range(4))
def test_draws_have_the_shares_of_the_formulas(row):
  how, n = SETTINGS[row], 4000
  logits = np.broadcast_to(LOGITS[row], (n, V))
  given = (np.float32(how.temperature), np.float32(how.top_p), how.top_k, np.float32(how.min_p))
  tokens, logprobs = choose.choose(jnp.asarray(logits), jax.random.split(jax.random.key(row), n), *given)
  expected, found = shares(LOGITS[row], how), np.bincount(np.asarray(tokens), minlength=V) / n
  assert (found[expected == 0] == 0).all() and np.abs(found - expected).max() < 0.03
  model = LOGITS[row] - np.log(np.exp(LOGITS[row]).sum())
  np.testing.assert_allclose(logprobs, model[np.asarray(tokens)], rtol=1e-4)


def test_a_row_draws_as_alone_whatever_the_others_ask_for():
  keys, every = jax.random.split(jax.random.key(3), 4), controls.of_rows(SETTINGS, controls.Kind())
  greedy = dataclasses.replace(SETTINGS[0], temperature=0.0)
  mixed = controls.of_rows([greedy, *SETTINGS[1:]], controls.Kind())
  together = np.asarray(choose.choose(jnp.asarray(LOGITS), keys, *map(jnp.asarray, every[:4]))[0])
  for i in range(4):
    row = slice(i, i + 1)
    alone = choose.choose(jnp.asarray(LOGITS[row]), keys[row], *(jnp.asarray(x[row]) for x in every[:4]))[0]
    assert together[i] == alone[0]
  found = np.asarray(choose.choose(jnp.asarray(LOGITS), keys, *map(jnp.asarray, mixed[:4]))[0])
  assert found[0] == LOGITS[0].argmax() and (found[1:] == together[1:]).all()


def test_the_likeliest_tokens_of_a_place():
  ids, logprobs = choose.top(jnp.asarray(LOGITS), 3)
  model = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
  assert (np.asarray(ids) == np.argsort(-LOGITS, axis=1)[:, :3]).all()
  np.testing.assert_allclose(logprobs, -np.sort(-model, axis=1)[:, :3], rtol=1e-5)


@pytest.fixture(scope="module")
def model():
  return tiny.base()


def run(model, asks, stops=(), **settings):
  decode = decode_lib.Decode(**{"max_new_tokens": 10, "batch": 4, **settings})
  return decode_lib.generate(tiny.binder(model.module), model.params, asks, decode, stops, 128)


def model_logits(model, ids):
  batch = tiny.unpacked([(np.asarray([*ids, 0], np.int32), np.zeros(len(ids) + 1, np.float32))], 64)
  return np.asarray(tiny.logits(model, batch))[0, len(ids) - 1]


MIXED = [
  controls.Sampling(repetition_penalty=1.5),
  controls.Sampling(presence_penalty=2.0, frequency_penalty=1.0),
  controls.Sampling(forced=(7, 7, 8), banned=(1, 2, 3, 4)),
  controls.Sampling(min_new_tokens=6),
]


def test_decoding_applies_them_row_by_row(model):
  """Greedy with every setting at once, each row its own, through fewer rows than prompts: each token is the one by
  hand, its log-probability and the likeliest ones are the model's own."""
  free = run(model, PROMPTS)
  stops = (free[3].tokens[2], 61)
  asks = [decode_lib.Ask(prompt=p, sampling=how) for p, how in zip(PROMPTS * 2, MIXED + MIXED[::-1], strict=True)]
  found = run(model, asks, stops, top_logprobs=3)
  for ask, out in zip(asks, found, strict=True):
    for i, token in enumerate([*out.tokens, out.end[0]] if out.end else out.tokens):
      raw = model_logits(model, [*ask.prompt, *out.tokens[:i]])
      logp = raw - np.log(np.exp(raw - raw.max()).sum()) - raw.max()
      expected = by_hand(raw, ask.prompt, out.tokens[:i], ask.sampling, stops).argmax()
      assert token == (ask.sampling.forced[i] if i < len(ask.sampling.forced) else expected)
      np.testing.assert_allclose([*out.logprobs, *(out.end or ())[1:]][i], logp[token], atol=1e-4)
      if i < len(out.tokens):
        assert [t for t, _ in out.top[i]] == np.argsort(-logp)[:3].tolist()
        np.testing.assert_allclose([p for _, p in out.top[i]], -np.sort(-logp)[:3], atol=1e-4)
    assert (out.end is not None) == (out.finish == "stop") and len(out.tokens) >= min(10, ask.sampling.min_new_tokens)
  assert {out.finish for out in found} == {"stop", "length"}
  alone = run(model, [dataclasses.replace(asks[0], id=0)], stops, top_logprobs=3)
  assert alone[0].tokens == found[0].tokens


@pytest.mark.parametrize(
  "bad,says",
  [
    (dict(top_k=-1), "keeps so many tokens"),
    (dict(min_p=1.5), "share of the likeliest"),
    (dict(repetition_penalty=0.0), "positive, 1 changes nothing"),
    (dict(presence_penalty=math.nan), "presence_penalty = nan"),
    (dict(banned=(-1,)), "ids of tokens"),
    (dict(forced="ab"), "forced"),
    (dict(min_new_tokens=100), "more than max_new_tokens"),
    (dict(n=0), "samples of each prompt"),
    (dict(stop=""), "empty stop string"),
    (dict(stop=("a", "")), "empty stop string"),
    (dict(top_logprobs=-1), "counts tokens"),
    (dict(temperature=-0.5), "temperature >= 0"),
    (dict(top_p=0.0), r"top_p in \(0, 1\]"),
  ],
)
def test_settings_are_checked(bad, says):
  with pytest.raises(errors.InputError, match=says):
    decode_lib.Decode(**bad)


def test_ids_behind_the_vocabulary_are_refused(model):
  with pytest.raises(errors.InputError, match="banned id 64; the model chooses from 64 tokens"):
    run(model, PROMPTS[:1], banned=(64,))
  with pytest.raises(errors.InputError, match="top_logprobs = 65; the model chooses from 64 tokens"):
    run(model, PROMPTS[:1], top_logprobs=65)
