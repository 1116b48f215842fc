"""The reference is complete: every command, flag, value and public name is on its page, with what it means."""

import inspect
import re

import pytest

from itune_jax import api
from itune_jax.run import cli
from itune_jax.run import meanings as run_meanings
from scripts import docs_meanings as meanings
from scripts import docs_reference as reference

CONFIGURABLES = meanings.configurables()
GIN = sorted(meanings.GIN.rglob("*.gin"))


@pytest.fixture(scope="module")
def pages():
  return reference.pages()


def named(text):
  """What a file of gin says of classes: `module.Name.value`, or `module.Name` where it makes one."""
  text = re.sub(r"#.*", "", text)
  bound = re.findall(r"^(?:\w+/)?([a-z]\w*\.\w+)\.(\w+) =", text, re.MULTILINE)
  return set(bound) | {(name, "") for name in re.findall(r"@(?:\w+/)?([a-z]\w*\.\w+)\(\)", text)}


@pytest.mark.parametrize("path", GIN, ids=lambda p: str(p.relative_to(meanings.GIN)))
def test_what_a_file_of_gin_names_is_in_the_reference(path):
  """Read here by a pattern of its own: what the reference overlooks would be overlooked twice otherwise."""
  known = {meanings.where(one): {v.name for v in meanings.values(one)} for one in CONFIGURABLES}
  for name, value in named(path.read_text()):
    assert name in known and (not value or value in known[name]), f"{name}.{value}"


@pytest.mark.parametrize("one", CONFIGURABLES, ids=meanings.where)
def test_every_value_has_a_meaning_and_stands_in_the_reference(one, pages):
  section = pages["reference/values.md"].split(f"{{ #{reference._anchor(one)} }}")[1].split("\n##")[0]
  assert meanings.summary(one), "the class says what it is"
  for value in meanings.values(one):
    assert len(value.meaning.split()) > 1, f"{value.name}: the docstring says nothing of it (`{value.name}: …`)"
    assert f"| <code>{value.name}</code> |" in section


def test_every_name_in_capitals_has_a_meaning(pages):
  used = {name for path in GIN for name in re.findall(r"%([A-Z]\w*)|^([A-Z]\w*) =", path.read_text(), re.MULTILINE)}
  names = {macro.name: macro for macro in meanings.macros()}
  assert {a or b for a, b in used} == set(names)
  assert not [name for name, macro in names.items() if not macro.meaning], "a row of gin_configs/README.md says it"
  assert all(f"| <code>{name}</code> |" in pages["reference/values.md"] for name in names)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_flag_has_a_meaning_and_stands_in_the_reference(name, pages):
  section = pages["reference/commands.md"].split(f"\n## itune {name}\n")[1].split("\n## ")[0]
  for action in reference.flags(cli.find(name)):
    assert action.help and len(action.help.split()) > 1, f"itune {name}: {action.dest} has no help"
    assert (action.option_strings or [action.dest])[0] in section or not action.option_strings


def test_every_file_of_gin_configs_stands_in_the_reference(pages):
  told = pages["reference/recipes.md"]
  assert not [path for path in GIN if f"<code>{path.relative_to(meanings.GIN)}</code>" not in told]


def test_every_public_name_of_the_api_has_a_docstring_and_stands_in_the_reference(pages):
  public = {n for n, v in vars(api).items() if not n.startswith("_") and inspect.getmodule(v) is api and callable(v)}
  names = {name: told for name, _, told in reference.api_names()}
  assert public < set(names) and all(len(told.split()) > 2 for told in names.values())
  page = pages["reference/api.md"]
  for name, value, _ in reference.api_names():
    assert f"\n## {name}\n" in page
    for method, function in reference._methods(value):
      assert inspect.getdoc(function) and f"\n### {name}.{method}\n" in page
    for field in meanings.values(value) if name in ("Model", "Run") else ():
      assert field.meaning and f"| <code>{field.name}</code> |" in page


def test_a_meaning_is_found_where_a_sentence_begins_with_the_name():
  doc = 'What it is: a thing.\n\na, b: two. mode: which, "min": or not; `c`: last\nof all.\n\nMore of it.'
  assert run_meanings.clause(doc, "a") == run_meanings.clause(doc, "b") == "two."
  assert run_meanings.clause(doc, "mode") == 'which, "min": or not'
  assert run_meanings.clause(doc, "c") == "last of all." and run_meanings.clause(doc, "thing") == ""
