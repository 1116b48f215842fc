"""Answers are kept as they come: what was stopped asks only for the rest, and ends with the same results."""

import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.sampling import requests
from itune_jax.sampling.responders import journal


class Counting(requests.Responder):
  """Counts what it is asked, and stops working after so many answers."""

  def __init__(self, works=10**9):
    self.asked, self.works = [], works

  def answer(self, given, progress=lambda n: None):
    return self.answer_each(given, lambda response: None, progress)

  def answer_each(self, given, done, progress=lambda n: None):
    found = []
    for request in given:
      if len(self.asked) == self.works:
        raise KeyboardInterrupt
      self.asked.append(request.id)
      sample = requests.Sample(f"{request.conversation}\u2028é", "stop", (1, 2), (-0.12345678, -2.0))
      found.append(requests.Response(request.id, (sample,) * request.n))
      done(found[-1])
    return found

  def score(self, pairs, progress=lambda n: None):
    self.asked.append(len(pairs))
    return [requests.Score(-float(len(pair.continuation)) / 3, False, 1) for pair in pairs]


def request(i, **how):
  return requests.Request(conversation=f"question {i}", id=str(i), **how)


def test_only_what_is_not_there_is_asked(tmp_path):
  path = str(tmp_path / "answers.jsonl")
  given = [request(i) for i in range(10)]
  whole = journal.Journal(Counting(), str(tmp_path / "other")).answer(given)
  with pytest.raises(KeyboardInterrupt):
    journal.Journal(Counting(4), path).answer(given)
  with open(path, "a") as f:
    f.write('{"key": "cut o')
  rest = Counting()
  again = journal.Journal(rest, path)
  assert again.answer(given) == whole and rest.asked == [str(i) for i in range(4, 10)] and again.reused == 4
  assert whole[0].samples[0].logprobs == (-0.123457, -2.0), "what hangs on company is not kept"
  other = Counting()
  journal.Journal(other, path).answer([request(1, limit=3), request(2)])
  assert other.asked == ["1"], "another limit is another request"


def test_scores_are_kept_in_parts_of_fixed_borders(tmp_path, monkeypatch):
  monkeypatch.setattr(journal, "PART", 4)
  pairs = [requests.Pair(f"context {i // 3}", "x" * (i + 1)) for i in range(14)]
  first = Counting()
  whole = journal.Journal(first, str(tmp_path / "a")).score(pairs)
  assert first.asked == [6, 6, 2], "what has one context stays together"
  second = Counting()
  assert journal.Journal(second, str(tmp_path / "a")).score(pairs) == whole and not second.asked
  chat = [requests.Pair(conversation.of("Hi"), " there")]
  assert journal.Journal(second, str(tmp_path / "a")).score(chat)[0].tokens == 1 and second.asked == [1]


def test_a_damaged_file_is_one_line(tmp_path):
  (tmp_path / "a").write_text('{"no": 1}\n')
  with pytest.raises(errors.InputError, match="a:1: is no kept answer"):
    journal.Journal(Counting(), str(tmp_path / "a"))
