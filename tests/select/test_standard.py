"""One form for what is written in several; labels, missing fields, joins and tags."""

import json
import random
import re

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.select.duplicates import embedded
from itune_jax.select.standard import as_messages
from itune_jax.select.standard import code_fences
from itune_jax.select.standard import imputing
from itune_jax.select.standard import joining
from itune_jax.select.standard import json_repairs
from itune_jax.select.standard import label_errors
from itune_jax.select.standard import latex_delimiters
from itune_jax.select.standard import table_cells
from itune_jax.select.standard import tagging
from itune_jax.select.standard import tool_schemas
from itune_jax.select.standard import whitespace
from tests.select import made


def test_rows_of_all_formats_become_messages():
  rows = [
    {"instruction": "a", "output": "b", "note": 7},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    {"prompt": "a", "completion": "b"},
  ]
  found = [as_messages.AsMessages().row(row) for row in rows]
  assert all(
    [(m["role"], m["content"]) for m in one.row["messages"]] == [("user", "a"), ("assistant", "b")] for one in found
  )
  assert found[0].row["note"] == 7 and [one.marks for one in found][1] == ("from sharegpt",)
  assert as_messages.AsMessages().row({"x": 1}).reason.startswith("no known format")


@pytest.mark.parametrize(
  ("step", "text", "wanted"),
  [
    (whitespace.Whitespace(), " a\u00a0b  \n\n\n\nc\n```\nx  \n\n\n\ny\n```", "a b\n\nc\n```\nx  \n\n\n\ny\n```"),
    (
      table_cells.TableCells(),
      "| when | much | why |\n|---|:-:|---|\n| Mar 9th 2024 | 5kgs | a |\n| 3 Apr 2023 | 9 grams | 5kg |\n|  | 2 g |",
      "| when | much | why |\n|---|:-:|---|\n| 2024-03-09 | 5 kg | a |\n| 2023-04-03 | 9 g | 5kg |\n|  | 2 g |",
    ),
    (
      table_cells.TableCells(),
      "day | other\n--- | ---\n25/12/2023 | 03/04/2024\n1/2/2024 | 05/06/2024\n\n25/12/2023 | 5kg",
      "day | other\n--- | ---\n2023-12-25 | 03/04/2024\n2024-02-01 | 05/06/2024\n\n25/12/2023 | 5kg",
    ),
    (code_fences.CodeFences(), "~~~ Python3\n```\nx\n~~~\nb", "```python\n```\nx\n```\nb"),
    (code_fences.CodeFences(close=True), "```JS\nx", "```javascript\nx\n```"),
    (latex_delimiters.LatexDelimiters(), r"\(x^2\) and \[y\] but `\(z\)`", r"$x^2$ and $$y$$ but `\(z\)`"),
    (
      latex_delimiters.LatexDelimiters(to="brackets"),
      "$x^2$, $$y$$, $5 and $6, $n$",
      r"\(x^2\), \[y\], $5 and $6, \(n\)",
    ),
  ],
)
def test_texts_in_one_form(step, text, wanted):
  found = step.row({"text": text}).row["text"]
  assert found == wanted and step.row({"text": wanted}).row["text"] == wanted


CELLS = st.one_of(
  st.sampled_from(["March 9, 2024", "9.3.2024", "13/02/2024", "02/13/2024", "2024/3/9", "31/2/2024", "", "n/a", "5M"]),
  st.sampled_from(["5kg", "5 Kilos", "-3 degC", "10 %", "7 sec.", "12 percent", "1 L", "`5kg`", r"a\|b", "3.5"]),
)


@hypothesis.given(st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_tables_keep_their_shape_and_their_numbers(rows, fenced):
  text = "\n".join(["a | b", "--- | ---", *("| " + " | ".join(row) + " |" for row in rows), "", "March 9, 2024 | 5kg"])
  text = f"```\n{text}\n```" if fenced else text
  step = table_cells.TableCells()
  found = step.changed(text)
  assert step.changed(found) == found and (found == text or not fenced)
  assert [line.count("|") for line in found.split("\n")] == [line.count("|") for line in text.split("\n")]
  assert found.endswith("March 9, 2024 | 5kg" + ("\n```" if fenced else ""))
  for old, new in zip(text.split("\n"), found.split("\n"), strict=True):
    for a, b in zip(old.split("|"), new.split("|"), strict=True):
      if a.strip() != b.strip() and not re.fullmatch(r"\d{4}-\d\d-\d\d", b.strip()):
        assert re.findall(r"[-\d.,]+\d|\d", a) == re.findall(r"[-\d.,]+\d|\d", b), (a, b)


def test_tools_become_json_schema():
  schema = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
  }
  whole = [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": {**schema, "required": ["city"]}}}
  ]
  forms = [
    whole,
    json.dumps(whole),
    whole[0]["function"],
    [{"name": "f", "description": "d", "input_schema": {**schema, "required": ["city"]}}],
    [
      {
        "name": "f",
        "description": "d",
        "parameters": {"city": {"type": "str"}, "days": {"type": "List[int], optional"}},
      }
    ],
  ]
  found = [tool_schemas.ToolSchemas().row({"tools": form}) for form in forms]
  assert [one.row["tools"] for one in found] == [whole] * len(forms) and not found[0].marks
  for bad in ("{", [{"description": "no name"}], [{"name": "f", "parameters": {"x": {"type": "thing"}}}]):
    assert tool_schemas.ToolSchemas().row({"tools": bad}).reason


def _parameters(given):
  outcome = tool_schemas.ToolSchemas().row({"tools": [{"name": "f", "parameters": given}]})
  return outcome.row["tools"][0]["function"]["parameters"] if outcome.row else outcome.reason


@hypothesis.given(
  more=st.fixed_dictionaries(
    {},
    optional={
      "additionalProperties": st.booleans(),
      "required": st.just([]),
      "description": st.just("of all"),
      "title": st.just("T"),
      "properties": st.just({"x": {"type": "string"}}),
    },
  ),
  typed=st.booleans(),
)
def test_a_schema_is_told_by_its_keywords(more, typed):
  given = {**({"type": "object"} if typed else {}), **more}
  assert _parameters(given) == {"type": "object", "properties": {}, **given}


@pytest.mark.parametrize("name", ["type", "description", "properties", "required", "title", "items"])
def test_a_parameter_may_be_called_as_a_keyword_is(name):
  found = _parameters({name: "str", "city": {"type": "int"}})
  assert found["properties"] == {name: {"type": "string"}, "city": {"type": "integer"}}
  assert found["required"] == [name, "city"]


@pytest.mark.parametrize(
  ("said", "schema", "needed"),
  [
    ("Union[int, str]", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, True),
    ("typing.Optional[List[str]]", {"type": "array", "items": {"type": "string"}}, False),
    ("int | None", {"type": "integer"}, False),
    ("Literal['a', 'none']", {"type": "string", "enum": ["a", "none"]}, True),
    ("datetime.datetime", {"type": "string", "format": "date-time"}, True),
    ("Dict[str, float]", {"type": "object", "additionalProperties": {"type": "number"}}, True),
    ("Tuple[int, str]", {"type": "array"}, True),
    ("string[]", {"type": "array", "items": {"type": "string"}}, True),
    ("int, default 5", {"type": "integer"}, False),
    ("Any", {}, True),
  ],
)
def test_types_of_python(said, schema, needed):
  assert _parameters({"x": said}) == {
    "type": "object",
    "properties": {"x": schema},
    **({"required": ["x"]} if needed else {}),
  }


@pytest.mark.parametrize("said", ["Callable", "Callable[[int], int]", "thing", "List["])
def test_a_type_without_a_name_is_said(said):
  assert f"tool 'f': parameter 'x': the type {said!r}" in _parameters({"x": said})
  nested = {"type": "object", "properties": {"x": {"type": "object", "properties": {"y": {"type": said}}}}}
  assert f"parameter 'x': parameter 'y': the type {said!r}" in _parameters(nested)


def test_json_is_mended_or_the_row_is_dropped_and_schemas_name_the_rule(tmp_path):
  step = json_repairs.JsonRepairs(field="output")
  fine = '{"a":  1}'
  assert step.row({"output": fine})[:3] == ({"output": fine}, "", ())
  for broken in ("{'a': 1,}", '```json\n{"a": 1}\n```', '{"a": 1', "~~~\n{a: 1.0,}", '\ufeff{"a": 1}'):
    assert json.loads(step.row({"output": broken}).row["output"]) == {"a": 1}
  assert step.row({"output": "no json here"}).reason and step.row({}).reason
  path = tmp_path / "schema.json"
  path.write_text(json.dumps({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}))
  check = json_repairs.SchemaCheck(path=str(path), field="output")
  assert (
    check.row({"output": '{"a": [1]}'}).row
    and check.row({"output": '{"a": ["x"]}'}).reason == "schema: a/* breaks type"
  )


@pytest.mark.parametrize(
  ("text", "why"),
  [
    ("See [1] and [2].", ""), ("We met at {the park} yesterday", ""), ("{the park} is nice", ""), ("{} x", ""),
    ("[1] and [2]", ": it is mended only with a loss"), ("[link](http://x.y)", ": it is mended only with a loss"),
    ('{"a":1,"a":1,}', ": it is mended only with a loss"), ('{"a":1,"a":2}', ": an object names the key 'a' twice"),
    ('{"x":NaN}', ": it holds a number that is not finite"), ("{'x':NaN}", ": it holds a number that is not finite"),
    ('{"x": -Infinity, }', ": it holds a number that is not finite"), ("[" * 5000 + "1,", ""),
  ],
)  # fmt: skip
def test_what_is_no_json_or_would_lose_something_is_refused_by_name(text, why):
  assert json_repairs.JsonRepairs(field="output").row({"output": text}).reason == f"no JSON under 'output'{why}"


plain = st.one_of(
  st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text("aé1", min_size=1)
)
values = st.recursive(
  plain,
  lambda one: st.one_of(
    st.lists(one, min_size=1, max_size=3), st.dictionaries(st.text("abc", min_size=1), one, min_size=1, max_size=3)
  ),
).filter(lambda value: isinstance(value, (dict, list)))


@hypothesis.given(
  value=values, escaped=st.booleans(), indent=st.sampled_from((None, 2)), fence=st.booleans(), comma=st.booleans()
)
@hypothesis.settings(deadline=None)
def test_json_that_lacks_a_mark_is_mended_to_what_it_was(value, escaped, indent, fence, comma):
  text = json.dumps(value, ensure_ascii=escaped, indent=indent)
  text = f"{text[:-1]},{text[-1]}" if comma else text
  text = f"```json\n{text}\n```" if fence else text
  assert json.loads(json_repairs.JsonRepairs(field="x").row({"x": text}).row["x"]) == value


def test_planted_label_errors_are_found(tmp_path):
  rng, topics = random.Random(0), {"sea": "wave fish salt ship tide", "sky": "cloud star wind bird moon"}
  rows, wrong = [], []
  for i in range(120):
    topic = rng.choice(sorted(topics))
    text = " ".join(rng.choice(topics[topic].split()) for _ in range(8))
    if i % 15 == 0:
      wrong.append(i)
    label = {"sea": "sky", "sky": "sea"}[topic] if i % 15 == 0 else topic
    rows.append({"prompt": text, "completion": "x", "topic": label})
  found, manifest = made.run(
    tmp_path, [*rows, {"prompt": "?", "completion": "x"}], label_errors.LabelErrors(label="topic")
  )
  assert [i for i, row in enumerate(found) if "label_error" in row] == wrong
  assert manifest["passes"][1]["errors"] == len(wrong) and found[0]["label_error"]["label"] != rows[0]["topic"]
  with pytest.raises(errors.InputError, match="no two labels"):
    made.run(tmp_path, rows[:3], label_errors.LabelErrors(label="topic"), overwrite=True)


def test_confident_learning_by_hand():
  """Thresholds are 0.697 and 0.6: row 2 reaches the other label's, row 3 (0.55) none but its own model's doubt."""
  probabilities = np.asarray([[0.9, 0.1], [0.8, 0.2], [0.39, 0.61], [0.45, 0.55], [0.35, 0.65]])
  given = np.asarray([0, 0, 0, 1, 1])
  assert label_errors.confident(probabilities, given).tolist() == [-1, -1, 1, -1, -1]


def test_missing_fields_are_filled_by_rule():
  step = imputing.Impute(key="system", value="You help with {domain}.", matching="^med", of="domain", lacking="drop")
  assert step.row({"domain": "medicine"}).row == {
    "domain": "medicine",
    "system": "You help with medicine.",
    "imputed": ["system"],
  }
  assert step.row({"domain": "law"})[:3] == ({"domain": "law"}, "", ())
  assert imputing.Impute(key="a", value="{b}", lacking="drop").row({}).reason
  assert imputing.Impute(key="a", value="{b}").row({}).marks == ("'a' still missing",)


def test_joins_with_conflicts(tmp_path):
  path = tmp_path / "more.jsonl"
  path.write_text('{"key": "1", "level": "hard", "text": "theirs"}\n')
  join = lambda row, **how: joining.Join(path=str(path), on="id", their_key="key", **how).row(row)
  row = {"id": "1", "text": "ours"}
  assert join(row, take=("level",)).row == {**row, "level": "hard"}
  assert join(row, conflict="ours").row == {**row, "level": "hard"}
  assert join(row, conflict="theirs").row == {"id": "1", "text": "theirs", "level": "hard"}
  assert join(row, conflict="drop").reason == "conflict of 'text'"
  assert join({"id": "2"}).marks == ("not joined",) and join({"id": "2"}, unmatched="drop").reason
  with pytest.raises(errors.InputError, match="'text' is 'ours' here and 'theirs'"):
    join(row)
  twice = tmp_path / "twice.jsonl"
  twice.write_text('{"id": "1"}\n{"id": "1"}\n')
  with pytest.raises(errors.InputError, match=r"twice\.jsonl:2: 'id' = '1' stands there twice"):
    joining.Join(path=str(twice), on="id").row(row)


def test_tags_by_rules():
  tag = lambda text, **row: tagging.Tags().row({"prompt": text, "completion": "x", **row}).row["tags"]
  assert tag("Translate this to French.") == {"task": "translation"} and tag("Zzz") == {"task": "other"}
  assert tag("Translate.", tags={"task": "mine"}) == {"task": "mine"}


def test_rows_of_one_meaning_by_their_vectors(tmp_path):
  rows = [{"text": "listen"}, {"text": "other words"}, {"text": "silent"}, {"text": ""}, {"text": ""}]
  found, manifest = made.run(tmp_path, rows, embedded.Embedded(encoder="letters", field="text", threshold=0.99))
  assert found == [row for i, row in enumerate(rows) if i != 2]
  assert manifest["passes"][1]["clusters"] == [{"kept": 0, "dropped": [2]}]
