"""What the bases of methods ask for, and how a checkpoint names a method that is not in the table."""

import dataclasses
import importlib
import inspect
import pathlib

import pytest

from itune_jax.core import errors
from itune_jax.nn import site
from itune_jax.peft import attach
from itune_jax.peft import method as method_lib
from itune_jax.peft import registry
from itune_jax.peft.folders import codec
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import regressor
from itune_jax.peft.methods import tokens
from itune_jax.peft.methods import vera
from tests import tiny
from tests.peft import table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(lora.Lora):
  """A user's method."""

  name: str = "mine"


class NoMethod:
  """Something else."""


def test_what_the_bases_ask_for_is_asked_for_when_the_class_is_defined():
  with pytest.raises(TypeError, match=r"NoSites does not declare sites, as its bases ask"):

    class NoSites(method_lib.SiteMethod):
      name: str = "x"

  with pytest.raises(TypeError, match=r"NoType does not declare peft_type, as its bases ask"):

    class NoType(codec.PeftMethod):
      name: str = "x"

  with pytest.raises(TypeError, match=r"Neither does not declare sites, peft_names, peft_type, as its bases ask"):

    class Neither(method_lib.SiteMethod, codec.ModuleCodec):
      name: str = "x"

  with pytest.raises(TypeError, match=r"NoRoots does not declare peft_roots, as its bases ask"):

    class NoRoots(lora.Lora, codec.BankCodec):
      name: str = "x"


def test_a_method_without_what_its_kind_must_have_is_no_value():
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class NoMake(method_lib.SiteMethod):
    sites: str = ".*"
    name: str = "x"

  with pytest.raises(TypeError, match="abstract method '?make'?"):
    NoMake()

  @dataclasses.dataclass(frozen=True, kw_only=True)
  class NoName(lora.Lora):
    rank: int = 4

  assert NoName().name == "lora"  # a base has it

  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Nameless(method_lib.SiteMethod):
    sites: str = ".*"

    def make(self, spec, key):
      return site.Adapter()

  with pytest.raises(TypeError, match="Nameless does not declare name"):
    Nameless()
  with pytest.raises(errors.InputError, match=r"Mine.rank = '8' \(str\); it takes int"):
    Mine(rank="8")


def test_what_is_no_method_is_refused_in_one_line():
  with pytest.raises(errors.InputError, match="is no method: its class must derive from peft.method.SiteMethod"):
    tiny.attach(tiny.base(), lora.Lora)


def test_a_users_method_is_named_by_where_its_class_is():
  data = registry.to_json(Mine(rank=2))
  assert data["type"] == "tests.peft.test_method:Mine" and data["rank"] == 2
  assert registry.from_json(data) == Mine(rank=2)


@pytest.mark.parametrize(
  "name,message",
  [
    ("nowhere:Mine", r"method nowhere:Mine cannot be imported \(ModuleNotFoundError: .*: install nowhere, or name its"),
    ("tests.peft.test_method:Other", r"cannot be imported \(AttributeError: .*Other"),
    ("tests.peft.test_method:NoMethod", "is no subclass of peft.method.Method"),
    ("tests.peft.test_method:tiny", "is no subclass of peft.method.Method"),
    ("Loraa", "unknown method 'Loraa'; methods are AdaLora, .*: if it is your own, import what registers it first"),
    (None, "unknown method None"),
  ],
)
def test_a_method_that_cannot_be_imported_is_refused_in_one_line(name, message):
  with pytest.raises(errors.InputError, match=message) as e:
    registry.from_json({"type": name, "rank": 2})
  assert "\n" not in str(e.value)


def test_a_class_that_no_other_process_finds_is_not_written():
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Local(Mine):
    pass

  with pytest.raises(errors.InputError, match="move the class to the top of a module, or registry.register it"):
    registry.to_json(Local())


def test_a_registered_method_is_named_as_those_of_the_table_are(monkeypatch):
  monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
  assert registry.register(Mine) is Mine and registry.register(Mine) is Mine
  assert registry.to_json(Mine(rank=2))["type"] == "Mine"
  assert registry.from_json(registry.to_json(Mine(rank=2))) == Mine(rank=2)

  class Lora(Mine):
    pass

  with pytest.raises(errors.InputError, match="there is a method called Lora already: give tests.peft.test_method's"):
    registry.register(Lora)


def test_a_gated_adapter_has_the_hooks_of_what_it_holds():
  attached = tiny.attach(tiny.base(), vera.Vera(rank=2, sites=r"blocks/1/attn/q"))
  adapter = attached.module.blocks.attn.q.adapters["vera"]
  assert isinstance(adapter, attach.Gated)
  assert adapter.hooks == adapter.inner.hooks == {"post"}
  assert not adapter.changes_bias(True)


def test_each_method_of_the_package_stands_wherever_a_method_has_to():
  """The five things of docs/methods.md: the class, its name, its row of the contract table, its part, its place on the
  page."""
  root = pathlib.Path(__file__).parents[2]
  kinds = set()
  for file in (root / "itune_jax/peft/methods").glob("[a-z]*.py"):
    module = importlib.import_module(f"itune_jax.peft.methods.{file.stem}")
    own = (kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__)
    kinds |= {kind for kind in own if issubclass(kind, method_lib.Method) and not inspect.isabstract(kind)}
  kinds -= {regressor.Regressor}  # it stands beside the model and changes nothing of it: losses have it in their table
  asked = {type(one) for name in table.TABLE for one in table.methods_of(name)}
  parts = "".join(path.read_text() for path in (root / "gin_configs").rglob("*.gin"))
  page = (root / "docs/methods.md").read_text()
  lacks = {
    kind.__name__: [
      where
      for where, has in {
        "METHODS": kind in registry.METHODS.values(),
        "tests/peft/table.py": kind in asked,
        "gin_configs": f"{kind.__name__}(" in parts or kind is tokens.Tokens,  # it is set by SPECIAL_TOKENS
        "docs/methods.md": f"`{kind.__name__}" in page,
      }.items()
      if not has
    ]
    for kind in kinds
  }
  assert len(kinds) >= 29 and not {name: where for name, where in lacks.items() if where}, lacks
