"""Steps that ask a model: what is asked, what an answer makes of a row, who is named for it, and what a kill costs."""

import argparse
import json
import re

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.data.readers import formats
from itune_jax.run import cli
from itune_jax.run.commands import select as command
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import http
from itune_jax.select import select_protocol
from itune_jax.select.standard import asked_imputing
from itune_jax.select.standard import asked_rows
from itune_jax.select.standard import asked_tagging
from itune_jax.select.standard import joining
from itune_jax.select.standard import matching_columns
from itune_jax.select.standard import ruled_tagging
from tests.parts import endpoint
from tests.select import made


class Said(requests_lib.Responder):
  """Says what a function says of the last text of a request; a pair is (text, finish). `stop` ends it at that one."""

  def __init__(self, says, stop=0):
    self.says, self.stop, self.asked = says, stop, []

  def answer(self, requests, progress=lambda n: None):
    return self.answer_each(requests, lambda one: None, progress)

  def answer_each(self, requests, done, progress=lambda n: None):
    requests_lib.unique(requests)
    found = []
    for request in requests:
      self.asked.append(request.conversation.messages[-1]["content"])
      if len(self.asked) == self.stop:
        raise KeyboardInterrupt
      said = self.says(self.asked[-1])
      text, finish = said if isinstance(said, tuple) else (said, "stop")
      found.append(requests_lib.Response(request.id, (requests_lib.Sample(text, finish),), requests_lib.Usage(3, 2)))
      done(found[-1])
    return found


class Ask(select_protocol.Ask):
  """A model called `teacher`."""

  identity = {"name": "teacher"}

  def __init__(self, says, stop=0):
    self.responder = Said(says, stop)

  def tokens(self, rows):
    return np.ones(len(rows), int)


ROWS = [
  {"id": "has", "instruction": "a", "output": "there"},
  {"id": "lacks", "instruction": "Say", "input": "x", "output": None},
  {"id": "prompt", "prompt": "p"},
  {"id": "bad", "instruction": "cut", "output": ""},
  {"id": "nothing", "input": "only"},
]


def test_answers_are_asked_for_as_the_row_asks_and_the_row_says_by_whom(tmp_path):
  ask = Ask(lambda text: ("half", "length") if text == "cut" else f"[{text}]")
  step = asked_imputing.AskedImpute(key="output", lacking="drop")
  rows, manifest = made.run(tmp_path, ROWS, step, ask=ask)
  assert {row["id"]: row["output"] for row in rows} == {"has": "there", "lacks": "[Say\n\nx]", "prompt": "[p]"}
  assert ask.responder.asked == ["Say\n\nx", "p", "cut"] and "imputed" not in rows[0]
  own = {"imputed": ["output"], "imputed_by": {"output": "teacher"}}
  assert all(row | own | {"source": {"kind": "distilled", "teacher": "teacher"}} == row for row in rows[1:])
  assert made.dropped(manifest) == {
    ("AskedImpute", "the answer was cut off"): 1,
    ("AskedImpute", "'output' is missing, and what would be asked too"): 1,
  }
  (told,) = [one for one in manifest["passes"] if one["step"] == "AskedImpute"]
  assert told["answers"] == {"asked": 3, "prompt_tokens": 9, "answer_tokens": 6, "tokens_unknown": 0}
  assert told["model"] == manifest["model"]["name"] == "teacher" and formats.parse(rows[1]).answer == "[Say\n\nx]"


@pytest.mark.parametrize(
  ("values", "row", "says", "wanted"),
  [
    ({"key": "instruction"}, {"output": "4"}, "What is 2 + 2?", {"instruction": "What is 2 + 2?"}),
    ({"key": "language", "prompt": "Of {text}?", "choices": ("en", "de")}, {"text": "x"}, " DE\n", {"language": "de"}),
    ({"key": "language", "prompt": "Of {text}?", "choices": ("en", "de")}, {"text": "x"}, "fr", None),
    (
      {"key": "input", "pattern": "<a>(.*)</a>"},
      {"instruction": "i", "output": "o"},
      "So:\n<a>\nit</a>",
      {"input": "it"},
    ),
    ({"key": "input", "pattern": "<a>(.*)</a>"}, {"instruction": "i", "output": "o"}, "it", None),
    ({"key": "output"}, {"prompt": "p"}, " \n", None),
  ],
)
def test_what_is_no_answer_is_counted_and_kept_or_dropped(tmp_path, values, row, says, wanted):
  for unread in ("drop", "keep"):
    (tmp_path / unread).mkdir()
    step = asked_imputing.AskedImpute(**values, unread=unread)
    given = [row, {"other": 1}]
    rows, manifest = made.run(tmp_path / unread, given, step, ask=Ask(lambda text: says))
    if wanted is None:
      assert rows == ([row, given[1]] if unread == "keep" else [given[1]])
      counted = manifest["passes"][1]["dropped" if unread == "drop" else "marked"]
      assert sum(count for name, count in counted.items() if "still missing" not in name) == 1
    else:
      assert {key: rows[0][key] for key in wanted} == wanted and rows[0]["imputed_by"] == dict.fromkeys(
        wanted, "teacher"
      )


def test_a_conversation_is_answered_with_its_tools_and_system(tmp_path):
  turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
  whole = {"messages": [*turns, {"role": "assistant", "content": "a"}]}
  step = asked_imputing.AskedImpute(key="@answer")
  rows, _ = made.run(tmp_path, [{"messages": turns, "source": "set"}, whole, {"prompt": "p"}], step, ask=Ask(str.upper))
  assert rows[0]["messages"] == [*turns, {"role": "assistant", "content": "Q"}] and rows[1:] == [whole, {"prompt": "p"}]
  assert rows[0]["source"] == {"dataset": "set", "kind": "distilled", "teacher": "teacher"}


TAGS = {
  "fine": '{"task": "Math", "skills": ["logic", "Arithmetic"], "difficulty": "easy"}',
  "fenced": 'Sure!\n```json\n{"task": "code", "skills": ["none"], "difficulty": "hard"}\n```',
  "outside": '{"task": "cooking", "skills": ["logic", "flying"], "difficulty": "medium"}',
  "words": "It is about {mathematics}.",
}
SETS = (
  ("task", ("math", "code")),
  ("skills", ("logic", "arithmetic", "none")),
  ("difficulty", ("easy", "medium", "hard")),
)


def test_tags_come_out_of_closed_sets(tmp_path):
  given = [{"prompt": name, "completion": "a"} for name in TAGS]
  given.append({"prompt": "has", "completion": "a", "tags": {"task": "x", "skills": ["y"], "difficulty": "z"}})
  step = asked_tagging.AskedTags(sets=SETS)
  ask = Ask(lambda text: TAGS[re.search("<text>\n(.*)\n</text>", text)[1]])
  rows, manifest = made.run(tmp_path, given, step, ask=ask)
  found = {row["prompt"]: row.get("tags") for row in rows}
  assert found["fine"] == {"task": "math", "skills": ["logic", "arithmetic"], "difficulty": "easy"}
  assert found["fenced"] == {"task": "code", "skills": ["none"], "difficulty": "hard"}
  assert found["outside"] == {"difficulty": "medium"} and found["words"] is None and found["has"]["task"] == "x"
  assert rows[2]["tagged_by"] == {"difficulty": "teacher"} and len(ask.responder.asked) == 4
  marked = manifest["passes"][1]["marked"]
  assert marked["task: not read"] == marked["skills: not read"] == 1 and marked["difficulty: easy"] == 1
  assert marked["tags: the answer holds no object of them"] == 1
  (tmp_path / "drop").mkdir()
  rows, _ = made.run(tmp_path / "drop", given, asked_tagging.AskedTags(sets=SETS, unread="drop"), ask=ask)
  assert [row["prompt"] for row in rows] == ["fine", "fenced", "has"]


def test_what_was_killed_asks_nobody_twice(tmp_path, monkeypatch):
  monkeypatch.setattr(asked_rows, "BLOCK", 4)
  rows = [{"prompt": f"p{k}"} for k in range(10)]
  step = asked_imputing.AskedImpute(key="output")
  for name in "ab":
    (tmp_path / name).mkdir()
  made.run(tmp_path / "a", rows, step, ask=Ask(str.upper))
  with pytest.raises(KeyboardInterrupt):
    made.run(tmp_path / "b", rows, step, ask=Ask(str.upper, stop=7))
  again = Ask(str.upper)
  made.run(tmp_path / "b", rows, step, ask=again)
  assert again.responder.asked == ["p6", "p7", "p8", "p9"]
  assert (tmp_path / "a" / "out.jsonl").read_bytes() == (tmp_path / "b" / "out.jsonl").read_bytes()


def test_a_step_without_a_model_is_one_line(tmp_path):
  with pytest.raises(errors.InputError, match="asks a model: name it with --base"):
    made.run(tmp_path, ROWS, asked_imputing.AskedImpute(key="output"))
  for bad in ({"key": "colour"}, {"key": "output", "pattern": "(a)(b)"}, {"key": "output", "limit": 0}):
    with pytest.raises(errors.InputError):
      asked_imputing.AskedImpute(**bad)


def test_an_endpoint_fills_what_is_missing_from_the_command_line(tmp_path, capsys):
  (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  flags = [
    "select",
    f"--input={tmp_path}/in.jsonl",
    f"--output={tmp_path}/out.jsonl",
    "--gin_file=data/select/impute.gin",
  ]
  with endpoint.serving(
    lambda text, tries, count: endpoint.Does(text=f"<{text}>", status=429 if tries == 1 else 200)
  ) as at:
    assert cli.main([*flags, f"--responder={at.url}"]) == 2 and "go together" in capsys.readouterr().err
    assert cli.main([*flags, f"--responder={at.url}", "--responder_model=big"]) == 0
  told = json.loads(capsys.readouterr().out)
  rows = {row["id"]: row for row in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
  assert told["kept"] == 4 and rows["bad"]["output"] == "<cut>" and rows["lacks"]["imputed_by"] == {"output": "big"}


def test_tags_by_rules():
  step = ruled_tagging.RuleTags()
  row = {
    "prompt": "Write a python function that sorts a list of stocks by revenue. Explain why it works.",
    "completion": "x",
  }
  found = step.row({**row, "language": "en"})
  assert found.row["tags"] == {
    "task": "code",
    "domain": "finance",
    "difficulty": "hard",
    "language": "en",
    "skills": ["programming", "formatting"],
  }
  assert found.row["tagged_by"] == dict.fromkeys(found.row["tags"], "rules")
  assert step.row({**row, "tags": {"task": "own"}}).row["tags"]["task"] == "own"
  plain = step.row({"prompt": "Name a colour.", "completion": "Red."})
  assert plain.row["tags"] == {"task": "other", "domain": "other", "difficulty": "easy"}
  assert {"language: no rule fits", "skills: no rule fits"} <= set(plain.marks)
  assert step.row({"prompt": "", "completion": "x"}).marks == ("no text to tag",)


def test_a_key_that_stands_twice_is_taken_by_rule(tmp_path):
  other = tmp_path / "other.jsonl"
  other.write_text('{"id": 1, "more": "a"}\n{"id": 1, "more": "b"}\n{"id": 2, "more": "c"}\n')
  for rule, wanted in (("first", "a"), ("last", "b")):
    (tmp_path / rule).mkdir()
    step = joining.Join(path=str(other), on="id", repeated=rule)
    rows, manifest = made.run(tmp_path / rule, [{"id": 1}, {"id": 2}, {"id": 3}], step)
    assert [row.get("more") for row in rows] == [wanted, "c", None]
    assert manifest["passes"][1]["marked"] == {"joined": 2, f"several rows of the file: the {rule}": 1, "not joined": 1}
  with pytest.raises(errors.InputError, match=r"other\.jsonl:2: 'id' = 1 stands there twice"):
    joining.Join(path=str(other), on="id").row({"id": 1})


def test_columns_are_matched_by_names_and_values(tmp_path):
  """Names that mean the same, names that say nothing with values that are shared, and a column that is like none."""
  words = ["red", "green", "blue", "north", "south", "east", "west", "up"]
  ours = [
    {"question": f"Why {w}?", "reply": f"So {w} it is.", "c7": f"set {k % 3}", "rank": k} for k, w in enumerate(words)
  ]
  theirs = [
    {"instruction": f"Why {w}?", "output": f"So {w} it is.", "source": f"set {k % 3}"} for k, w in enumerate(words)
  ]
  other = tmp_path / "theirs.jsonl"
  other.write_text("".join(json.dumps(row) + "\n" for row in theirs))
  rows, manifest = made.run(tmp_path, ours, matching_columns.MatchColumns(path=str(other), least=0.55))
  assert rows == [{**one, "rank": k} for k, one in enumerate(theirs)]
  told = manifest["passes"][1]
  assert set(told["columns"]) == {"question → instruction", "reply → output", "c7 → source"} and told["no_match"] == [
    "rank"
  ]
  assert not told["unsure"] and told["marked"]["c7 → source"] == len(words)
  given = matching_columns.MatchColumns(path=str(other), given=(("reply", "source"),), unmatched="drop", refuse=True)
  with pytest.raises(errors.InputError, match="no column is like 'output'"):
    made.run(tmp_path, ours, given, overwrite=True)
  twins = matching_columns.Columns({"a": ["x"], "b": ["x"]})
  found, unsure = matching_columns.matched(twins, matching_columns.Columns({"c": ["x"]}), (), 0.3, 0.05)
  assert not found and unsure == ["a"], "what has an equal rival is not guessed"


def test_messages_that_are_json_text_stay_turns(tmp_path):
  turns = [{"role": "user", "content": "q"}]
  step = asked_imputing.AskedImpute(key="@answer")
  rows, _ = made.run(tmp_path, [{"messages": json.dumps(turns)}], step, ask=Ask(str.upper))
  assert rows[0]["messages"] == [*turns, {"role": "assistant", "content": "Q"}]


def test_a_source_of_another_type_is_not_written_over(tmp_path):
  step = asked_imputing.AskedImpute(key="output", prompt="Say {instruction}")
  rows, manifest = made.run(
    tmp_path, [{"instruction": "a", "source": [1]}, {"instruction": "b", "source": None}], step, ask=Ask(str.upper)
  )
  assert [row["instruction"] for row in rows] == ["b"]
  assert made.dropped(manifest) == {("AskedImpute", "its `source` is a list, and must be an object"): 1}


def test_an_endpoint_that_gives_no_answers_says_why_and_is_left_alone(tmp_path, capsys, monkeypatch):
  (tmp_path / "in.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
  flags = ["select", f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out.jsonl", "--responder_model=big"]
  monkeypatch.setattr(http.time, "sleep", lambda s: None)
  with endpoint.serving(lambda text, tries, count: endpoint.Does(html=True)) as at:
    flags += [f"--responder={at.url}"]
    assert cli.main([*flags, "--gin_file=data/select/model_tags.gin"]) == 0
    assert "no answer to 1 requests; the first: http://" in capsys.readouterr().err
    (told,) = [one for one in json.loads((tmp_path / "out.manifest.json").read_text())["passes"] if "answers" in one]
    assert "JSONDecodeError" in told["no_answer"]
    assert cli.main([*flags, "--gin_file=data/select/judge.gin", "--overwrite"]) == 2
    assert "--gin.rated.Judged.by=text" in capsys.readouterr().err
    text = ["--gin_file=data/select/judge.gin", "--gin.rated.Judged.by=text", "--overwrite", "--keep=1"]
    assert cli.main([*flags, *text]) != 0 and "JSONDecodeError" in capsys.readouterr().err
    asked = command._endpoint(argparse.Namespace(responder=at.url, responder_model="big", key_env=""))
  assert asked.responder.inner.breaker.faults == 20
