"""Published benchmarks: files are found or said to be missing, items are chosen by seed, prompts lose whole shots."""

import dataclasses
import json

import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import ask
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import stored
from itune_jax.evals import suite
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests


def make(folder, settings):
  def items():
    for where, row in folder.lines("rows.jsonl"):
      shots = tuple(protocol.Shot(f"Q: {i}", f" A: {i}") for i in range(settings.shots))
      yield protocol.Item(
        id=row["id"],
        question="Q: " + row["id"],
        shots=shots,
        head="Do it.\n",
        answer="yes",
        tags={"part": row["part"]},
        where=where,
      )

  return protocol.Benchmark(
    name="toy",
    items=items,
    ask=official.generate(settings, limit=8, form="plain"),
    grade=protocol.each(lambda item, answer: {"right": answer.text == item.answer}),
    metrics={"right": metrics_lib.Mean()},
  )


TOY = official.Published(
  name="toy",
  axis="utility",
  files=("rows.jsonl",),
  source="https://example.org",
  licence="MIT",
  size="1 kB",
  metric="right",
  make=make,
  shots=2,
  most_shots=4,
  variants=("one", "two"),
  subtask="part",
  also=("toys",),
)


class Short(requests.Responder):
  """Has room for so many characters, and answers yes."""

  def __init__(self, room=10**9):
    self.room, self.asked = room, []

  def fits(self, asked, new):
    return len(asked) + new <= self.room

  def answer(self, given, progress=lambda n: None):
    self.asked += given
    return [requests.Response(r.id, (requests.Sample("yes", "stop"),) * r.n) for r in given]


@pytest.fixture
def data(tmp_path):
  (tmp_path / "toys").mkdir()
  rows = [f'{{"id": "{part}{i}", "part": "{part}"}}' for part, n in (("a", 40), ("b", 3), ("c", 7)) for i in range(n)]
  (tmp_path / "toys/rows.jsonl").write_text("\n".join(rows))
  return (str(tmp_path),)


def test_a_limit_is_spread_over_subtasks_by_seed(data):
  ids = lambda **how: [item.id for item in TOY.benchmark(data, official.Settings(**how)).items()]
  assert len(ids()) == 50
  nine = ids(limit=9)
  assert sorted(id[0] for id in nine) == list("aaabbbccc") and nine == ids(limit=9)
  assert nine == [id for id in ids() if id in nine], "in their order"
  assert nine != ids(limit=9, seed=1) and set(nine) <= set(ids(limit=20)), "more items are these and others"
  assert ids(limit_each=2) == ["a0", "a1", "b0", "b1", "c0", "c1"]
  limited = TOY.benchmark(data, official.Settings(limit=9))
  (figure, *_) = suite.measure(limited, Short()).results
  assert (figure.n, figure.of) == (9, 50), "a figure of some items says of how many"


def test_what_is_missing_or_not_there_is_one_line(data, tmp_path):
  with pytest.raises(
    errors.InputError, match=r"toy: rows.jsonl not found .*https://example.org \(1 kB, MIT\).*DIR/toy"
  ):
    TOY.benchmark((str(tmp_path / "none"),))
  for how, said in (
    ({"shots": 5}, "4 examples at most, 5"),
    ({"variant": "three"}, "its variants: one, two"),
    ({"version": 2}, "version 2 is asked for, this is version 1"),
  ):
    with pytest.raises(errors.InputError, match=said):
      TOY.benchmark(data, official.Settings(**how))
  with pytest.raises(errors.InputError, match="exclude each other"):
    official.Settings(limit=1, limit_each=1)
  (tmp_path / "toys/rows.jsonl").write_text('{"id": "a", "part": "a"}\n[1]\n')
  with pytest.raises(errors.InputError, match=r"rows.jsonl:2: is a list, a JSON object is expected"):
    suite.measure(TOY.benchmark(data), Short())


def test_prompts_have_shots_as_text_or_turns_and_lose_whole_ones(data):
  (item, *_) = TOY.benchmark(data, official.Settings(shots=2)).items()
  assert item.prompt("plain") == "Do it.\nQ: 0 A: 0\n\nQ: 1 A: 1\n\nQ: a0"
  assert item.prompt("plain", 1) == "Do it.\nQ: 1 A: 1\n\nQ: a0"
  assert item.prompt("chat") == conversation.of(item.prompt("plain"))
  turns = item.prompt("turns")
  assert [m["role"] for m in turns.messages] == ["user", "assistant", "user", "assistant", "user"]
  assert turns.messages[0]["content"] == "Do it.\nQ: 0" and turns.messages[1]["content"] == "A: 0"
  short = Short(len("Do it.\nQ: 1 A: 1\n\nQ: a0") + 8)
  rows = suite.run([TOY.benchmark(data)], short)["toy"].rows
  assert rows[0]["shots"] == 1 and rows[0]["shots_dropped"] == 1 and rows[0]["values"]["right"] == 1
  assert rows[10]["id"] == "a10" and rows[10]["shots"] == 0 and rows[10]["shots_dropped"] == 2
  assert short.asked[0].id == "toy/a0" and short.asked[0].conversation == "Do it.\nQ: 1 A: 1\n\nQ: a0"
  none = suite.run([TOY.benchmark(data)], Short(9))["toy"]
  assert not Short(9).asked and {row["verdict"] for row in none.rows} == {"too_long"}


def test_thoughts_are_no_part_of_an_answer_and_verdicts_are_counted():
  how = ask.Generate(stop=("Q:",), thinks=True)
  said = lambda text, finish="stop": how.answer(
    protocol.Item(id="1", question="?"), [requests.Response("1", (requests.Sample(text, finish),))]
  )
  assert said("<think>Q: is 2</think>\n\n 4 Q: more").text == " 4 "
  assert said("<think>never", "length").text == "" and ask.verdict(said("<think>never", "length")) == "cut_off"
  assert ask.verdict(said("<think>a</think> ")) == "empty" and ask.verdict(said("</think>4")) == "answered"
  plain = dataclasses.replace(how, thinks=False)
  kept = plain.answer(protocol.Item(id="1", question="?"), [requests.Response("1", (requests.Sample("4", "stop"),))])
  assert kept.text == "4"


def test_benchmarks_of_a_suite_are_asked_together(data):
  responder = Short()
  first, second = (dataclasses.replace(TOY.benchmark(data), name=name) for name in ("first", "second"))
  done = []
  calls = []
  responder.answer = lambda given, progress=lambda n: None: (calls.append(len(given)), Short().answer(given))[1]
  found = suite.run([first, second], responder, done=lambda benchmark, result: done.append(benchmark.name))
  assert calls == [100] and done == ["first", "second"] and len(found["second"].rows) == 50
  assert found["second"].rows[0]["id"] == "a0"
  with pytest.raises(errors.InputError, match="two benchmarks have one name"):
    suite.run([first, first], responder)


def test_a_response_that_stands_once_for_each_filter_is_one_row(data, tmp_path):
  said = lambda id, text, name: {"doc_id": 0, "doc": {"id": id}, "filter": name, "resps": [[text]]}
  rows = [said("a0", "yes", name) for name in ("strict", "flexible")]
  (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
  responder = stored.Stored(str(tmp_path / "samples.jsonl"))
  found = suite.run([TOY.benchmark(data)], responder)["toy"]
  assert found.rows[0]["values"]["right"] == 1 and not responder.unmatched and len(responder.missing) == 49
  (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, [rows[0], said("a0", "no", "flexible")])))
  with pytest.raises(errors.InputError, match="answers id 'a0' again"):
    stored.Stored(str(tmp_path / "samples.jsonl"))
