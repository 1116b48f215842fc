"""What goes with a release says the same of it everywhere, and in the forms that others read."""

import configparser
import pathlib
import re

import pytest
import yaml

import itune_jax

ROOT = pathlib.Path(__file__).parent.parent
# Keys of the Citation File Format 1.2.0, from its schema: of the file, what must be there, of an entity.
CFF = set(re.findall(r"\S+", """abstract authors cff-version commit contact date-released doi identifiers keywords
  license license-url message preferred-citation references repository repository-artifact repository-code title type
  url version"""))  # fmt: skip
CFF_NEEDED = {"authors", "cff-version", "message", "title"}
CFF_ENTITY = set(re.findall(r"\S+", """address alias city country date-end date-start email fax location name orcid
  post-code region tel website"""))  # fmt: skip
# What GitHub's form schema takes of an element, by its type.
FORM = {
  "textarea": {"label", "description", "placeholder", "value", "render"},
  "input": {"label", "description", "placeholder", "value"},
  "dropdown": {"label", "description", "multiple", "options", "default"},
}


def read(name):
  return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_in_its_format():
  found, setup = read("CITATION.cff"), configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  assert (
    CFF_NEEDED <= set(found) <= CFF and found["cff-version"] == "1.2.0" and found["type"] in ("software", "dataset")
  )
  assert found["authors"] and all("name" in one and set(one) <= CFF_ENTITY for one in found["authors"])
  assert str(found["version"]) == itune_jax.__version__ and found["license"] == setup["metadata"]["license"]
  assert len(set(found["keywords"])) == len(found["keywords"])
  released = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
  assert released[0] == itune_jax.__version__


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem)
def test_a_form_for_issues_is_one(form):
  found = yaml.safe_load(form.read_text(encoding="utf-8"))
  assert set(found) == {"name", "description", "labels", "body"}
  assert len({one["id"] for one in found["body"]}) == len(found["body"])
  for one in found["body"]:
    assert set(one) == {"type", "id", "attributes", "validations"} and "label" in one["attributes"]
    assert set(one["attributes"]) <= FORM[one["type"]] and isinstance(one["validations"]["required"], bool)
    assert not re.search(r"\W", one["id"])


def test_the_security_policy_names_what_is_there():
  """Each page and variable that it speaks of; and templates of strangers are rendered by transformers' sandbox."""
  text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
  assert all((ROOT / name).exists() for name in re.findall(r"docs/[\w/.]+\.md", text))
  code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "itune_jax").rglob("*.py"))
  assert "OPENAI_API_KEY" in text and "OPENAI_API_KEY" in code
  assert "jinja2.Template(" not in code, "a template outside of a sandbox"
