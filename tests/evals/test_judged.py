"""Judges: both orders, expectations over tokens, a key in every row, and every way of giving no verdict by its name."""

import collections
import dataclasses
import json
import math

import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import ask
from itune_jax.evals import judged
from itune_jax.evals import protocol
from itune_jax.evals import suite
from itune_jax.grading.judging import rubrics
from itune_jax.grading.statistics import agreement
from itune_jax.sampling import requests
from itune_jax.sampling.responders import http
from itune_jax.sampling.responders import journal
from tests.parts import server

WORDS = {"Peru": "Lima", "Chad": "N'Djamena", "France": "Paris, of course", "Fiji": "Suva"}


def items():
  for land in WORDS:
    yield protocol.Item(id=land, question=f"capital of {land}?", shown={"baseline": f"{land} City"})


def sides(item, answer):
  pair = (answer.text,), (item.shown["baseline"],)
  return [judged.Sides({"question": item.question}, *pair, rubrics.named("pair-v2"))]


class Model(requests.Responder):
  """Knows the capitals; as a judge it says what `verdict` makes of both answers, and remembers what it was asked."""

  def __init__(self, verdict=None, likely=None):
    self.verdict, self.likely, self.asked = verdict, likely, []

  def answer(self, given, progress=lambda n: None):
    self.asked.append(list(given))
    return [requests.Response(one.id, (self._sample(one),)) for one in given]

  def _sample(self, request):
    text = (
      request.conversation if isinstance(request.conversation, str) else request.conversation.messages[-1]["content"]
    )
    if "[The Start of" not in text and "Output" not in text:
      return requests.Sample(next((said for land, said in WORDS.items() if land in text), "?"), "stop")
    ours = min(text.find(word) for word in WORDS.values() if word in text)
    theirs = text.find(" City")
    return self.verdict(ours < theirs)

  def score(self, pairs, progress=lambda n: None):
    self.asked.append(list(pairs))
    return [requests.Score(self.likely(pair), False, 1) for pair in pairs]


def say(text, finish="stop", **more):
  return requests.Sample(text, finish, **more)


def benchmark(judge, more=lambda sides, played: {}):
  grade = judged.Pairwise(judge, (rubrics.named("pair-v2"),), sides, more)
  return protocol.Benchmark(
    name="pairs", items=items, ask=ask.Generate(), grade=grade, metrics=dict(judged.PAIR_METRICS)
  )


def test_a_fair_judge_is_consistent():
  judge = Model(lambda ours_first: say("so [[A]]" if ours_first else "so [[B]]"))
  found = suite.measure(benchmark(judged.Judge(responder=judge, name="fair")), Model())
  figures = {result.metric: result.value for result in found.results}
  assert len(judge.asked) == 1 and len(judge.asked[0]) == 8, "both orders of all pairs at once"
  assert figures["win_rate"] == figures["win_rate_of_all"] == figures["position_consistency"] == 1
  assert figures["first_position_rate"] == 0.5 and figures["ties"] == figures["unread"] == 0
  assert math.isnan(figures["length_correlation"]), "who always wins does not vary"
  (key,) = {row["judge"] for row in found.rows}
  assert judged.key_of(found) == key and len(key) == 16 and all(one.id.startswith(key) for one in judge.asked[0])
  assert found.rows[0]["verdicts"] == [{"straight": "so [[A]]", "swapped": "so [[B]]"}] and not judged.faults(found)


def test_a_judge_that_likes_the_first_place_is_told():
  found = suite.measure(benchmark(judged.Judge(responder=Model(lambda ours_first: say("[[A]]")))), Model())
  figures = {result.metric: result.value for result in found.results}
  assert figures["first_position_rate"] == 1 and figures["position_consistency"] == 0
  assert figures["win_rate"] == 0.5 and figures["ties"] == 1


def test_what_is_no_verdict_is_counted_by_its_name():
  said = iter(
    [
      *(say("[[A]]"), say("I'm sorry, I can't compare these.")),
      *(say("A long comparison that is", "length"), say("")),
      *(say("[[C]]"), say("Both are fine.")),
      *(say("", "failed", problem="no answer in 3 tries"), say("[[B]]")),
    ]
  )
  found = suite.measure(benchmark(judged.Judge(responder=Model(lambda ours_first: next(said)))), Model())
  figures = {result.metric: (result.value, result.n, result.of) for result in found.results}
  assert judged.faults(found) == {"refused": 1, "cut_off": 1, "empty": 1, "unparsed": 1, "failed": 1}
  assert figures["win_rate"][1:] == (0, 4) and math.isnan(figures["win_rate"][0])
  assert figures["win_rate_of_all"] == (pytest.approx((0.75 + 0.5 + 0.5 + 0.75) / 4), 4, 4)
  assert figures["unread"][0] == pytest.approx((0.5 + 1 + 0.5 + 0.5) / 4)
  assert found.rows[3]["verdicts"][0]["straight"] == "no answer in 3 tries"


def alpaca(item, answer):
  return [judged.Sides({"question": item.question}, (answer.text,), (item.shown["baseline"],), rubrics.ALPACA_EVAL)]


def test_answers_of_one_token_are_weighed():
  """By what comes with the first token, or by the score of each answer: the same expectation."""
  weigh = lambda ours_first: math.log(0.6 if ours_first else 0.3)
  top = lambda ours_first: (("m", weigh(ours_first)), ("M", math.log(0.2)), ("The", math.log(0.1)))
  by_tokens = Model(lambda ours_first: say("m", "length", top=(top(ours_first),)))
  likely = lambda pair: (
    math.log(0.2) if pair.continuation == "M" else weigh(_ours_first(pair.context.messages[-1]["content"]))
  )
  values = []
  for judge in (
    judged.Judge(responder=by_tokens, by="tokens"),
    judged.Judge(responder=Model(likely=likely), by="scores"),
  ):
    grade = judged.Pairwise(judge, (rubrics.ALPACA_EVAL,), alpaca)
    found = suite.measure(dataclasses.replace(benchmark(judge), grade=grade), Model())
    values.append([row["values"]["win_rate"] for row in found.rows])
  assert values[0] == pytest.approx(values[1])
  assert values[0][0] == pytest.approx((0.6 / 0.8 + 1 - 0.3 / 0.5) / 2)
  assert by_tokens.asked[0][0].top == 20 and by_tokens.asked[0][0].limit == 1
  none = judged.Judge(responder=Model(lambda ours_first: say("m", "length")), by="tokens")
  grade = judged.Pairwise(none, (rubrics.ALPACA_EVAL,), alpaca)
  found = suite.measure(dataclasses.replace(benchmark(none), grade=grade), Model())
  assert judged.faults(found) == {"no_logprobs": 8}
  with pytest.raises(errors.InputError, match="pair-v2 has no answers of one token: ask it by text"):
    suite.measure(benchmark(none), Model())


def _ours_first(text):
  return min(text.find(word) for word in WORDS.values() if word in text) < text.find(" City")


def test_a_model_may_judge_itself_or_by_its_adapter():
  model = Model(lambda ours_first: say("[[A]]" if ours_first else "[[B]]"))
  found = suite.measure(benchmark(judged.Judge(adapter="judge", name="itself")), model)
  assert [one.adapter for one in model.asked[0]] == [None] * 4 and {one.adapter for one in model.asked[1]} == {"judge"}
  assert {row["values"]["win_rate"] for row in found.rows} == {1.0}


def test_the_key_is_of_all_that_makes_a_verdict():
  model = Model()
  prompts = (rubrics.named("pair-v2"),)
  base = dict(responder=model, name="a")
  changes = [{}, {"name": "b"}, {"by": "tokens"}, {"temperature": 0.5}, {"limit": 5}, {"adapter": "x"}]
  keys = [judged.Judge(**base | change).key(prompts) for change in changes]
  keys.append(judged.Judge(**base, panel=(judged.Judge(responder=model),)).key(prompts))
  keys.append(judged.Judge(**base, temperature=0.5, repeats=2).key(prompts))
  keys.append(judged.Judge(**base).key((rubrics.named("pair-math-v1"),)))
  endpoint = lambda **more: http.HttpResponder(url="http://h/v1", model="m", **more)
  keys += [judged.Judge(responder=endpoint(**more)).key(prompts) for more in ({}, {"temperature": 0.2}, {"seed": 1})]
  assert len(set(keys)) == len(keys) and judged.Judge(**base).key(prompts) == keys[0]
  same = [judged.Judge(responder=endpoint(key=key, tries=9)).key(prompts) for key in ("", "secret")]
  assert same == [keys[-3]] * 2, "who pays and how often it is tried is no part of a verdict"
  with pytest.raises(errors.InputError, match="no judge's prompt is called"):
    judged.Judge(prompt="pair-v9")
  with pytest.raises(errors.InputError, match="rate_5 is single; pair is asked for"):
    judged.Judge(prompt="rate_5").rubric(rubrics.ARENA)


def test_a_panel_says_its_mean_and_how_far_it_agrees():
  fair, liking = (Model(lambda ours: say("[[A]]" if ours else "[[B]]")), Model(lambda ours: say("[[A]]")))
  drawn = iter(["[[A]]", "[[B]]", "no idea", "[[C]]"] * 9)
  moody = Model(lambda ours: say(next(drawn)))
  third = judged.Judge(responder=moody, name="moody", temperature=0.7, repeats=2)
  judge = judged.Judge(responder=fair, panel=(judged.Judge(responder=liking, name="first"), third))
  assert judge.voices == ["judge 1", "first", "moody, 1", "moody, 2"]
  found = suite.measure(benchmark(judge), Model())
  row, figures = found.rows[0], {result.metric: result.value for result in found.results}
  assert row["votes"] == [[1, 1, 1, 1], [0, 1, 0, 0]] and row["worth_of_first"] == [[1, 0.25]]
  assert row["judge_name"] == "judge 1, first, moody, 1, moody, 2" and "[first] [[A]]" in row["verdicts"][0]["swapped"]
  assert found.rows[1]["votes"] == [[1, 1, None, None], [0, 1, 0.5, 0.5]]
  ids = [[one.id for one in asked] for asked in moody.asked]
  assert len(ids) == 2 and not set(ids[0]) & set(ids[1]), "what is drawn anew is another request"
  votes = [votes for row in found.rows for votes in row["votes"]]
  assert figures["judge_alpha"] == pytest.approx(agreement.krippendorff(list(zip(*votes, strict=True)), "interval"))
  assert judged.recalled(judge.identity).panel[1].repeats == 2
  alone = suite.measure(benchmark(judged.Judge(responder=fair)), Model())
  assert "votes" not in alone.rows[0] and "judge_alpha" not in {result.metric for result in alone.results}


@pytest.mark.parametrize(
  ("given", "says"),
  [
    ({"repeats": 2}, "Judge.repeats = 2, at temperature 0 by text: a judge says the same each time"),
    ({"repeats": 2, "temperature": 1.0, "by": "tokens"}, "at temperature 1 by tokens"),
    ({"repeats": 0}, "Judge.repeats = 0"),
    ({"panel": (judged.Judge(prompt="rate_5"),)}, "no rubric and no panel of its own"),
  ],
)
def test_voices_that_could_not_differ_are_refused(given, says):
  with pytest.raises(errors.InputError, match=says):
    judged.Judge(**given)


def test_figures_of_two_judges_are_none():
  rows = suite.measure(benchmark(judged.Judge(responder=Model(lambda first: say("[[C]]")))), Model())
  other = suite.measure(benchmark(judged.Judge(responder=Model(lambda first: say("[[C]]")), name="b")), Model())
  with pytest.raises(errors.InputError, match="rows of 2 judges"):
    judged.key_of(rows._replace(rows=rows.rows + other.rows))


def test_ratings_of_what_is_not_read_are_counted_not_dropped():
  said = iter([say("[[8]]"), say("no idea"), say("[[4]]"), say("[[42]]")])
  rate = rubrics.named("single-v1")
  part = lambda item, answer: [judged.Rated({"question": item.question, "answer": answer.text}, answer.text, rate)]
  grade = judged.Ratings(judged.Judge(responder=Model(lambda ours_first: next(said))), (rate,), part)
  Model._sample, before = lambda self, request: next(said), Model._sample
  try:
    answers = [requests.Response(item.id, (say("x" * k),)) for k, item in enumerate(items(), 1)]
    graded = grade(list(items()), answers)
  finally:
    Model._sample = before
  assert [one.values["score"] for one in graded] == [[8, 1], None, [4, 1], None]
  assert [one.values["score_of_all"] for one in graded] == [[8, 1], [1, 1], [4, 1], [1, 1]]
  assert [one.values["unread"] for one in graded] == [0, 1, 0, 1]
  assert graded[3].shown["judge_faults"] == {"off_scale": 1} and graded[1].shown["ratings"] == [None]


def endpoint(url, **more):
  given = dict(url=url, model="j", wait_s=0.001, tries=3, timeout_s=1.0, failed="answer")
  return http.HttpResponder(**given | more)


def script(name, tries):
  """A judge's endpoint at its worst, by the pair it is asked about."""
  if "Peru" in name:
    return 429 if tries == 1 else {"content": "[[A]]"}
  if "Chad" in name:
    return "rubbish"
  if "France" in name:
    return 400
  return {"content": "", "finish": "content_filter"} if tries > 1 else "null"


def test_an_endpoint_at_its_worst_is_a_judge_that_is_counted():
  with server.serving(script) as there:
    found = suite.measure(benchmark(judged.Judge(responder=endpoint(there.url))), Model())
  assert judged.faults(found) == {"failed": 4, "refused": 2}
  chad, france = found.rows[1]["verdicts"][0], found.rows[2]["verdicts"][0]
  assert "in 3 tries; the last" in chad["straight"] and "400" in france["swapped"] and "refuses" in france["swapped"]
  assert found.rows[0]["values"]["win_rate"] == 0.5


def test_a_judge_that_stalls_is_counted_too():
  with server.serving(lambda name, tries: "stall" if "Peru" in name else {"content": "[[C]]"}) as there:
    slow = endpoint(there.url, timeout_s=0.2, tries=2)
    found = suite.measure(benchmark(judged.Judge(responder=slow)), Model())
  assert judged.faults(found) == {"failed": 2} and "TimeoutError" in found.rows[0]["verdicts"][0]["straight"]


def test_a_budget_ends_the_work_and_a_journal_takes_it_up(tmp_path):
  path = str(tmp_path / "verdicts.jsonl")
  with server.serving(lambda name, tries: {"content": "[[A]]", "tokens": 10}) as there:

    def measured(**more):
      bounds = http.budget_lib.Budget(**more)
      kept = journal.Journal(endpoint(there.url, at_a_time=1, budget=bounds), path)
      return suite.measure(benchmark(judged.Judge(responder=kept)), Model())

    with pytest.raises(errors.RunError, match=r"the budget is spent \(3 requests, 30 tokens\) before request"):
      measured(requests=3)
    with pytest.raises(errors.RunError, match=r"the budget is spent \(2 requests, 20 tokens\)"):
      measured(tokens=15)
    found = measured()
    asked = collections.Counter(json.dumps(body["messages"]) for body, _ in there.bodies)
  assert len(asked) == 8 and set(asked.values()) == {1}, "each game was asked once"
  assert {row["values"]["win_rate"] for row in found.rows} == {0.5}


def test_tokens_of_an_endpoint_are_weighed(tmp_path):
  top = [("m", math.log(0.7)), ("M", math.log(0.2))]
  with server.serving(lambda name, tries: {"content": "m", "top": top, "finish": "length"}) as there:
    judge = judged.Judge(responder=journal.Journal(endpoint(there.url), str(tmp_path / "j")), by="tokens", top=5)
    grade = judged.Pairwise(judge, (rubrics.ALPACA_EVAL,), alpaca)
    two = [grade(list(items())[:1], [requests.Response("Peru", (say("Lima"),))])[0] for _ in range(2)]
    assert len(there.bodies) == 2 and all(b["logprobs"] and b["top_logprobs"] == 5 for b, _ in there.bodies)
  assert two[0] == two[1] and two[0].shown["worth_of_first"] == [[pytest.approx(7 / 9)] * 2]


def test_an_endpoint_that_does_not_say_what_it_cost_keeps_no_budget():
  with server.serving() as there, pytest.raises(errors.RunError, match="does not say what answers cost"):
    bounded = endpoint(there.url, budget=http.budget_lib.Budget(tokens=5))
    bounded.answer([requests.Request(conversation=conversation.of("hi"), id="1")])
