"""Teachers that fail: each fault is passed, or counted under its name; what was paid for is kept."""

import json

import pytest

from itune_jax.core import errors
from itune_jax.sampling.responders import breaker
from itune_jax.sampling.responders import budget
from itune_jax.sampling.responders import http
from itune_jax.synth import faults
from itune_jax.synth import magpie
from itune_jax.synth import runner
from itune_jax.synth import teacher_answers
from tests.parts import endpoint
from tests.parts.endpoint import Does

ENGLISH = "The answer is quite short because the question is also rather short, as everybody can see here."
GERMAN = "Die Antwort ist kurz, weil auch die Frage kurz war und niemand hier etwas anderes lesen wollte."
WIRE = (
  Does(status=500), Does(status=503), Does(status=429), Does(status=429, headers=(("Retry-After", "0"),)),
  Does(html=True), Does(half=True), Does(stall=0.5), Does(status=502, html=True),
)  # fmt: skip


@pytest.fixture
def prompts(tmp_path):
  path = tmp_path / "prompts.jsonl"
  path.write_text("".join(json.dumps({"prompt": f"q{i}"}) + "\n" for i in range(16)), encoding="utf-8")
  return str(path)


def responder(url, **more):
  how = {"model": "m", "wait_s": 0.001, "timeout_s": 0.2, "at_a_time": 4, "failed": "answer"}
  return http.HttpResponder(**{"url": url, **how, **more})


def go(prompts, folder, asked, **more):
  one = teacher_answers.TeacherAnswers(prompts_file=prompts, faults=faults.Faults(language="en"))
  return runner.run(one, asked, str(folder), identity={}, **more)


def test_passing_faults_of_the_wire_change_nothing(tmp_path, prompts):
  def fails_first(asked, tries, count):
    return WIRE[int(asked[1:]) % len(WIRE)] if tries == 1 else Does(f"{ENGLISH} {asked}")

  with endpoint.serving(lambda asked, tries, count: Does(f"{ENGLISH} {asked}")) as there:
    whole = go(prompts, tmp_path / "whole", responder(there.url))
  with endpoint.serving(fails_first) as there:
    found = go(prompts, tmp_path / "other", responder(there.url))
    assert there.count == 32
  assert found["rows"] == 16 and found["rows_sha256"] == whole["rows_sha256"]
  assert found["tokens"] == {"prompt": 16, "answer": 80, "requests_untold": 0}


def test_answers_that_are_none_are_counted_by_name(tmp_path, prompts):
  says = (
    Does("I'm sorry, but I can't help with that."),
    Does("so it goes on and on and " * 20),
    Does(GERMAN),
    Does(ENGLISH, finish="length"),
    Does(" "),
    Does("", finish="content_filter"),
    Does(status=500),
    Does(ENGLISH),
  )
  with endpoint.serving(lambda asked, tries, count: says[int(asked[1:]) % len(says)]) as there:
    found = go(prompts, tmp_path / "out", responder(there.url, tries=2))
  reasons = ("refused", "loops", "other language", "cut off", "empty", "refused by the endpoint")
  assert found["dropped"] == dict.fromkeys((*reasons, "the teacher gave no answer"), 2)
  assert found["rows"] == 2 and dict(runner.funnel(found))["candidates"] == 16


def test_broken_json_is_counted(tmp_path):
  tags = json.dumps({"difficulty": "easy", "quality": "good", "category": "math"})
  said = ["What is a river delta, and how does it form?", "Why do people tell stories at night?"]

  def script(asked, tries, count):
    if asked.startswith("<|im_start|>"):
      return Does(said[count % 2] + f" {count}")
    if "JSON" in asked:
      return Does(tags[:-5] if count % 3 == 0 else tags)
    return Does(ENGLISH)

  one = magpie.Magpie(prefix="<|im_start|>user\n")
  with endpoint.serving(script) as there:
    found = runner.run(
      one, responder(there.url, at_a_time=1), str(tmp_path / "m"), identity={}, limits=runner.Limits(candidates=9)
    )
  assert found["dropped"]["tags: broken JSON"] > 0


@pytest.mark.parametrize("fault", ["revoked", "budget"])
def test_what_was_paid_for_is_kept_when_a_key_is_revoked_or_a_budget_runs_out(tmp_path, prompts, fault):
  def script(asked, tries, count):
    return Does(status=401) if fault == "revoked" and count > 6 else Does(f"{ENGLISH} {asked}")

  with endpoint.serving(script) as there:
    spent = budget.Budget(requests=6 if fault == "budget" else 0)
    with pytest.raises((errors.InputError, errors.RunError), match="401|budget is spent"):
      go(prompts, tmp_path / "out", responder(there.url, at_a_time=1, budget=spent), batch=2)
    told = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert told["rows"] == 6 and told["ended"].startswith("stopped: ")
    assert ("401" in told["ended"]) == (fault == "revoked")
  with endpoint.serving(lambda asked, tries, count: Does(f"{ENGLISH} {asked}")) as there:
    assert go(prompts, tmp_path / "out", responder(there.url))["rows"] == 16
    assert there.count == 10, "what was answered before is not asked again"


def test_a_budget_within_a_batch_keeps_its_answers(tmp_path, prompts):
  answers = lambda asked, tries, count: Does(f"{ENGLISH} {asked}")
  with endpoint.serving(answers) as there, pytest.raises(errors.RunError, match="budget is spent"):
    go(prompts, tmp_path / "out", responder(there.url, budget=budget.Budget(requests=9)))
  with endpoint.serving(answers) as there:
    assert go(prompts, tmp_path / "out", responder(there.url))["rows"] == 16 and there.count == 7


def test_sustained_429_opens_the_breaker_and_loses_no_row(tmp_path, prompts):
  pauses = []
  guard = breaker.Breaker(faults=3, pause_s=0.01, pauses=50, sleep=lambda s: pauses.append(s))
  with endpoint.serving(lambda asked, tries, count: Does(status=429) if count <= 60 else Does(ENGLISH)) as there:
    found = go(prompts, tmp_path / "out", responder(there.url, tries=60, wait_s=0.0, breaker=guard))
  assert found["rows"] == 16 and pauses

  stops = breaker.Breaker(faults=2, pause_s=0.0, pauses=3)
  with endpoint.serving(lambda asked, tries, count: Does(status=503)) as there:
    with pytest.raises(errors.RunError, match="failed 2 times in a row behind each of 3 pauses.*503"):
      go(prompts, tmp_path / "stops", responder(there.url, tries=100, wait_s=0.0, breaker=stops, at_a_time=1))
    assert there.count == 8

  resumes = breaker.Breaker(faults=2, pause_s=0.0, pauses=3, then="resume")
  with endpoint.serving(lambda asked, tries, count: Does(status=503) if count < 40 else Does(ENGLISH)) as there:
    found = go(prompts, tmp_path / "on", responder(there.url, tries=100, wait_s=0.0, breaker=resumes, at_a_time=1))
  assert found["rows"] == 16
