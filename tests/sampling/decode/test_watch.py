"""Stop strings and streams against a slow reference: everything generated, then cut."""

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.sampling.decode import call
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import watch
from tests import tiny

ALPHABET = "ab\u00e4\u20ac\U0001f642 \n"


def tokenizer(seed: int):
  """ids -> text of a random byte-level vocabulary: single bytes, and pieces that begin and end inside characters."""
  rs = np.random.RandomState(seed)
  stream = "".join(rs.choice(list(ALPHABET), 200)).encode()
  pieces = [bytes([b]) for b in sorted(set(ALPHABET.encode()))]
  while len(pieces) < 64:
    at, n = rs.randint(len(stream) - 6), rs.randint(2, 6)
    pieces.append(stream[at : at + n])
  return lambda ids: b"".join(pieces[i] for i in ids).decode(errors="replace")


def reference(text, tokens, stops):
  """(tokens, text) cut before the first stop string; tokens up to the one that completes it."""
  whole = text(tokens)
  found = [(whole.find(s), len(s)) for s in stops if s in whole]
  if not found:
    return tokens, whole, False
  at = min(at for at, _ in found)
  end = at + min(n for where, n in found if where == at)
  closed = lambda n: len(watch.closed(text(tokens[:n])))
  return tokens[: next((n for n in range(len(tokens)) if closed(n) >= end), len(tokens))], whole[:at], True


def in_rounds(text, tokens, stops, rounds):
  """What a watch says of a row that grows so many tokens at a time."""
  looks, at = watch.Watch(text, stops), 0
  for n in rounds:
    at = min(at + n, len(tokens))
    if cut := looks.cut(tokens[:at], at == len(tokens)):
      return tokens[: cut.tokens], cut.text, True
    if at == len(tokens):
      return tokens, text(tokens), False
  raise AssertionError


def cases(seed: int):
  """Random texts, and stop strings that occur in most of them: torn, overlapping, one the beginning of another."""
  rs = np.random.RandomState(seed)
  text = tokenizer(seed)
  for _ in range(40):
    tokens = rs.randint(0, 64, rs.randint(1, 60)).tolist()
    whole = text(tokens).replace(watch.TORN, "") or "a"
    cut = lambda: (lambda at: whole[at : at + rs.randint(1, 7)])(rs.randint(len(whole)))  # noqa: B023
    stops = [cut() for _ in range(rs.randint(1, 4))]
    stops += [stops[0][:-1] or "b", stops[0][1:] + "a", "never"][: rs.randint(0, 4)]
    yield text, tokens, tuple(stops)


@pytest.mark.parametrize("seed", range(8))
def test_a_text_ends_before_the_first_stop_string_whenever_it_is_looked_at(seed):
  rs, hits = np.random.RandomState(100 + seed), 0
  for text, tokens, stops in cases(seed):
    expected = reference(text, tokens, stops)
    hits += expected[2]
    for rounds in ([1] * 60, [60], [16] * 5, rs.randint(1, 17, 60).tolist()):
      assert in_rounds(text, tokens, stops, rounds) == expected, (stops, text(tokens))
  assert hits > 20


def test_few_tokens_come_in_vain():
  """A row goes on behind a stop string only as long as one that began before it may still come."""
  text, tokens = (lambda ids: "".join("abcd"[i] for i in ids)), [3, 0, 1, 2, 2, 2]
  assert watch.Watch(text, ["bc"]).cut(tokens[:4], False) == watch.Cut(4, "da")
  longer = watch.Watch(text, ["bc", "abcd"])
  assert longer.cut(tokens[:4], False) is None and longer.cut(tokens[:5], False) == watch.Cut(4, "da")
  assert watch.Watch(text, ["bc", "abcd"]).cut([3, 0, 1, 2, 3], False) == watch.Cut(5, "d")
  assert watch.Watch(text, ["bc", "abcd"]).cut([3, 0, 1, 2], True) == watch.Cut(4, "da")


@pytest.mark.parametrize("seed", range(4))
def test_what_is_shown_stands(seed):
  for text, tokens, stops in cases(seed):
    final, shown = reference(text, tokens, stops)[1], ""
    looks = watch.Watch(text, stops)
    for n in range(1, len(tokens)):
      if looks.cut(tokens[:n], False):
        break
      if (now := looks.shown(tokens[:n])) is not None:
        assert now.startswith(shown) and final.startswith(now)
        shown = now


def test_long_texts_are_not_decoded_over_and_over():
  read = []
  text = lambda ids: (read.append(len(ids)), "x" * len(ids))[1]
  looks = watch.Watch(text, ["stop"])
  for n in range(16, 4096, 16):
    assert looks.cut(range(n), False) is None
  assert max(read) < 100


# --- through the engine --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
  return tiny.base()


rs = np.random.RandomState(1)
PROMPTS = [rs.randint(0, 60, n).tolist() for n in (4, 9, 17, 6, 12, 8)]
TEXT = tokenizer(5)


def run(model, asks, text=TEXT, on_text=None, stops=(), **settings):
  decode = decode_lib.Decode(**{"max_new_tokens": 40, "temperature": 1.0, "batch": 4, **settings})
  bind = tiny.binder(model.module)
  return decode_lib.generate(bind, model.params, asks, decode, stops, 128, text=text, on_text=on_text)


@pytest.mark.heavy
def test_rows_end_as_if_they_had_stopped_there(model, monkeypatch):
  """Some rows with stop strings of their own, others with none, more prompts than rows."""
  free = run(model, PROMPTS, stops=(11,))
  assert all(out.text == TEXT(out.tokens) for out in free)
  own = lambda out, k: TEXT(out.tokens).replace(watch.TORN, "")[k : k + 3]
  stops = [(own(out, 5), own(out, 4)) if i % 2 == 0 else () for i, out in enumerate(free)]
  asks = [decode_lib.Ask(prompt=p, stop=s) for p, s in zip(PROMPTS, stops, strict=True)]
  most, said = call.LOOK, []
  found = run(model, asks, stops=(11,), on_text=said.append)
  for out, one, stop in zip(found, free, stops, strict=True):
    tokens, text, cut = reference(TEXT, one.tokens, stop)
    assert (out.tokens, out.text) == (tokens, text) and out.finish == ("stop_string" if cut else one.finish)
    assert out.logprobs == pytest.approx(one.logprobs[: len(tokens)], abs=1e-5)
    assert out.end == (None if cut else one.end)
  assert sum(out.finish == "stop_string" for out in found) >= 2
  for out in found:  # what was streamed is what was found
    pieces = [piece for piece in said if (piece.id, piece.sample) == (out.id, out.sample)]
    assert sum((piece.tokens for piece in pieces), []) == out.tokens
    assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + [out.finish]
    assert pieces[-1].text == out.text and all(out.text.startswith(piece.text) for piece in pieces)
  assert len(said) > 2 * len(found)
  monkeypatch.setattr(call, "LOOK", 1)
  exact = run(model, asks, stops=(11,))
  monkeypatch.setattr(call, "LOOK", most)
  again = run(model, asks[::-1], stops=(11,), batch=2, seed=0)
  assert [(o.tokens, o.text) for o in exact] == [(o.tokens, o.text) for o in found]
  assert len(again) == len(found)


def test_one_string_is_one_stop_string(model):
  assert decode_lib.stops_of("ab") == ("ab",) and decode_lib.stops_of(["a", "b"]) == ("a", "b")
  with pytest.raises(errors.InputError, match="need the text of ids"):
    run(model, PROMPTS[:1], text=None, stop="a")


def test_streams_without_a_tokenizer_tell_ids(model):
  said = []
  (out,) = run(model, PROMPTS[:1], text=None, on_text=said.append, max_new_tokens=9, batch=1)
  assert sum((piece.tokens for piece in said), []) == out.tokens and out.text is None
  assert {piece.text for piece in said} == {""} and len(said) == 2
