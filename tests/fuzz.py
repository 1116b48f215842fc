"""Property tests with hypothesis: few examples by default, many under the marker `full`; the same ones every time."""

import pathlib
import tempfile

import hypothesis
from hypothesis import configuration
from hypothesis import strategies as st
import pytest

from itune_jax.core import errors
from itune_jax.data import fields

configuration.set_hypothesis_home_dir(tempfile.gettempdir())  # its caches are none of the checkout

FEW, MANY = 50, 2000
_SETTINGS = dict(derandomize=True, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))

scalars = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(-(10**18), 10**18),
  st.floats(),
  st.text(max_size=20),
  st.sampled_from(["", " ", "\ud83d", "\x00", "<image>", "<think>", "{}", "[]", "[1", "NaN", "\U000f0000", "é", "کِ"]),
)
values = st.recursive(
  scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=8), one, max_size=3), max_leaves=6
)


def given(*strategies):
  """A property as a test, of FEW examples, and of MANY by the marker `full`."""

  def wrap(check):
    @pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.full)])
    def test(count):
      hypothesis.settings(max_examples=count, **_SETTINGS)(hypothesis.given(*strategies)(check))()

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test

  return wrap


def outcome(run, *kinds):
  """What a function returns, or None where it raises one of these errors in one line that can be printed. Any other
  error is a fault of the door."""
  try:
    return run()
  except (*kinds, errors.InputError, fields.BadRow) as e:
    said = str(e)
    assert said.strip() and "\n" not in said and len(said) < 1500, said
    said.encode()
    return None


def paths(value, at=()):
  """The paths of all nodes of a JSON value."""
  yield at
  items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
  for key, child in items:
    yield from paths(child, (*at, key))


def replaced(value, path, new):
  """A JSON value with another node at a path; `DELETE` removes it."""
  if not path:
    return new
  copy = dict(value) if isinstance(value, dict) else list(value)
  key, *rest = path
  if new is DELETE and not rest:
    del copy[key]
  else:
    copy[key] = replaced(value[key], rest, new)
  return copy


def at(value, path):
  """The node at a path."""
  for key in path:
    value = value[key]
  return value


DELETE = object()


@st.composite
def mutated(draw, bases):
  """(base, path, what stands there now, the value) of one of several JSON values with a node replaced or removed."""
  base = draw(st.sampled_from(bases))
  path = draw(st.sampled_from([p for p in paths(base) if p]))
  new = draw(st.one_of(st.just(DELETE), values, st.sampled_from([[at(base, path)], {"value": at(base, path)}])))
  return base, path, new, replaced(base, path, new)


@st.composite
def damaged(draw, whole: bytes):
  """Bytes of which a stretch is cut out, doubled or replaced."""
  start = draw(st.integers(0, len(whole)))
  end = min(len(whole), start + draw(st.integers(0, 40)))
  middle = draw(st.one_of(st.just(b""), st.binary(max_size=16), st.just(whole[start:end] * 2)))
  return whole[:start] + middle + draw(st.sampled_from([whole[end:], b""]))


def fields_changed(config, mutations):
  """A configuration with the mutations ("set", key, value) and ("drop", key, …) of a list."""
  found = dict(config)
  for kind, what, how in mutations:
    if kind == "set":
      found[what] = how
    elif kind == "drop":
      found.pop(what, None)
  return found


def cut(path, thousandths):
  """Leaves so many thousandths of a file, if it is there."""
  if path.exists():
    path.write_bytes(path.read_bytes()[: path.stat().st_size * thousandths // 1000])


def flip(path, where, byte):
  """Puts another byte into a file, if it is there and as long as that."""
  content = bytearray(path.read_bytes() if path.exists() else b"")
  if where < len(content):
    content[where] = byte
    path.write_bytes(content)


def read_or_refused(read, folder):
  """What reading a folder gives, or None where it is refused in one line that names the folder."""
  try:
    return read(folder)
  except errors.InputError as e:
    assert "\n" not in str(e) and str(folder) in str(e), e
    return None


def folders_of(mutations):
  """A property of folders as a test: the check gets a new folder, and a list of mutations."""

  def wrap(check):
    def in_folder(mutations):
      with tempfile.TemporaryDirectory() as folder:
        check(pathlib.Path(folder), mutations)

    in_folder.__name__, in_folder.__doc__ = check.__name__, check.__doc__
    return given(mutations)(in_folder)

  return wrap


@st.composite
def respelled(draw, texts, bits):
  """One of several texts of `key = value` or `key: value` lines, of which one is dropped, doubled, or says a bit."""
  lines = draw(st.sampled_from(texts)).splitlines()
  at = draw(st.integers(0, len(lines) - 1))
  line = lines[at]
  kind = draw(st.sampled_from(["drop", "double", "value", "value", "value", "name"]))
  mark = max((m for m in "=:" if m in line), key=line.find, default="")
  key, behind, _ = line.partition(mark) if mark else ("", "", line)
  if kind == "value":
    lines[at] = f"{key}{behind} {draw(st.sampled_from(bits))}"
  elif kind == "name":
    lines[at] = f"{draw(st.sampled_from(bits))}{line[len(key) :]}"
  else:
    lines[at : at + 1] = [line] * 2 if kind == "double" else []
  return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
