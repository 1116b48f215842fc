"""What a compiled program does, counted from its text: arithmetic, memory traffic and collectives of one device.

XLA's own cost analysis counts the body of a loop once. Here an instruction counts as often as the loops around it turn.
The text is that of `compiled.as_text()`: optimised, partitioned, with layouts.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
import re
from typing import NamedTuple

import numpy as np

_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "f64": 8, "s64": 8, "u64": 8, "c64": 8, "token": 0}
_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_LINE = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (.*)$")
_CALLS = re.compile(r"(?:calls|to_apply|condition|body|true_computation|false_computation)=%([\w.\-]+)")
_COLLECTIVE = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
# Groups as axes of a mesh, whose devices may be numbered in another order.
_NAMED_GROUPS = re.compile(r"mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))?\s*\{([^}]*)\}")
_FREE = {
  *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"),
  *("partition-id", "replica-id", "opt-barrier", "slice-done", "copy-done", "all-gather-done", "all-reduce-done"),
  *("collective-permute-done", "async-start", "async-update", "async-done"),
  *("send", "send-done", "recv", "recv-done"),
}

# Written in place: where what is new begins among so many operands.
_IN_PLACE = "output_to_operand_aliasing={{}: (0, {})}"  # inside a fusion: the same bytes under another tiling
_UPDATES = {"dynamic-update-slice": lambda n: slice(1, 2), "scatter": lambda n: slice(n // 2 + 1, n)}


class Array(NamedTuple):
  """A typed shape; `fast` when it lies in on-chip memory, not in HBM."""

  kind: str
  shape: tuple[int, ...]
  fast: bool

  @property
  def nbytes(self) -> float:
    """Bytes of its values, padding of the layout left out."""
    digits = re.sub(r"\D.*", "", self.kind.lstrip("bfsuc")) or "8"
    return math.prod(self.shape) * _BYTES.get(self.kind, int(digits) / 8)


class Instruction(NamedTuple):
  """One line."""

  name: str
  arrays: tuple[Array, ...]  # what it makes; several for a tuple
  op: str
  operands: tuple[str, ...]
  rest: str


class Collective(NamedTuple):
  """One collective, all the turns of its loop together. `nbytes` are those that one device receives."""

  op: str
  groups: str
  nbytes: float
  overlapped: bool


def members(groups: str, devices: int) -> list[int]:
  """The devices of the first group of a collective that has several, in any of the ways that HLO writes groups."""
  if named := _NAMED_GROUPS.match(groups):
    axes, shape, turned, along = named.groups()
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
    order = _numbered(shape or str(math.prod(sizes.values())), turned).reshape(tuple(sizes.values()))
    along = re.findall(r"'([^']+)'", along)
    return order[tuple(slice(None) if name in along else 0 for name in sizes)].ravel().tolist()
  if found := re.match(r"\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", groups):
    order = _numbered(found.group(3), found.group(4))
    return order.reshape(int(found.group(1)), int(found.group(2)))[0].tolist()
  if found := re.findall(r"\{([\d,]+)\}", groups):
    every = [[int(n) for n in group.split(",")] for group in found]
    return next((group for group in every if len(set(group)) > 1), every[0][:1])  # a device may send to itself
  return list(range(devices))  # an empty list of groups: all


def _numbered(shape: str, turned: str | None) -> np.ndarray:
  """Device numbers in an array of this shape, its axes turned."""
  sizes = [int(n) for n in shape.split(",")]
  order = np.arange(math.prod(sizes)).reshape(sizes)
  return order.transpose([int(n) for n in turned.split(",")]) if turned else order


@dataclasses.dataclass(frozen=True)
class Counts:
  """Of one device and one call: floating-point operations of matrix products, bytes to and from HBM, collectives."""

  flops: float
  hbm_bytes: float
  collectives: tuple[Collective, ...]


class Program:
  """A parsed module. Loops whose number of turns is not in the text are taken to turn `unknown_turns` times."""

  def __init__(self, text: str, unknown_turns: int = 1):
    self._unknown = unknown_turns
    self._bodies: dict[str, list[Instruction]] = {}
    self._roots: dict[str, str] = {}
    self._entry, current = "", ""
    for line in text.splitlines():
      if line.endswith("{") and not line.startswith(" "):
        name = line.removeprefix("ENTRY ").split(" ", 1)[0].lstrip("%")
        current, self._entry = name, name if line.startswith("ENTRY") else self._entry
        self._bodies[current] = []
      elif found := _LINE.match(line):
        self._bodies[current].append(_instruction(*found.groups()))
        if line.lstrip().startswith("ROOT"):
          self._roots[current] = found.group(1)
    self._by_name = {body: {i.name: i for i in lines} for body, lines in self._bodies.items()}
    self._uses = functools.cache(self._count_reads)

  def counts(self, kernel_flops: Callable[[str, tuple[Array, ...]], float] = lambda name, operands: 0.0) -> Counts:
    """Counts the whole program. kernel_flops: of a hand-written kernel, by its name and its operands."""
    flops = traffic = 0.0
    found: dict[str, Collective] = {}
    for body, turns, fused in self._walk(self._entry, 1.0, False):
      for line in self._bodies[body]:
        flops += turns * self._flops(body, line, kernel_flops)
        if not fused:
          traffic += turns * self._traffic(body, line)
        if line.op == "recv" and "megascale" in line.rest:  # from another slice, by way of the hosts
          found[line.name] = Collective("network", "", turns * line.arrays[0].nbytes, True)
        elif line.op.removesuffix("-start") in _COLLECTIVE:
          self._note(found, body, line, turns, fused)
    return Counts(flops, traffic, tuple(found.values()))

  def _walk(self, body: str, turns: float, fused: bool):
    """Every computation that is called, how often, and whether inside a fusion (whose traffic is the fusion's)."""
    yield body, turns, fused
    for line in self._bodies[body]:
      if line.op in ("reduce", "scatter", "sort", "map", "reduce-window", "select-and-scatter", "all-reduce"):
        continue
      called = _CALLS.findall(line.rest) + re.findall(r"%([\w.\-]+)", _group(line.rest, "branch_computations="))
      inner = turns * self._turns(line) if line.op == "while" else turns
      for name in called:
        yield from self._walk(name, inner, fused or line.op == "fusion")

  def _turns(self, loop: Instruction) -> int:
    """Turns of a loop that counts from zero to a constant, by whatever its body adds to the counter."""
    names = dict(re.findall(r"(condition|body)=%([\w.\-]+)", loop.rest))
    test = self._by_name[names["condition"]]
    place, limit = None, None
    for name in test[self._roots[names["condition"]]].operands:
      line = test[name]
      place = int(_group(line.rest, "index=")) if line.op == "get-tuple-element" else place
      limit = _integer(line) or limit
    if place is None or limit is None:
      return self._unknown
    body = self._by_name[names["body"]]
    added = body.get(body[self._roots[names["body"]]].operands[place])
    steps = [_integer(body[name]) for name in added.operands if name in body] if added else []
    return -(-limit // next((step for step in steps if step), 1))

  def _arrays(self, body: str, name: str) -> tuple[Array, ...]:
    line = self._by_name[body].get(name)
    return line.arrays if line else ()

  def _flops(self, body: str, line: Instruction, kernel_flops) -> float:
    if line.op == "dot":
      left = self._arrays(body, line.operands[0])[0].shape
      contracted = [left[int(d)] for d in _group(line.rest, "lhs_contracting_dims=").split(",") if d]
      return 2.0 * math.prod(line.arrays[0].shape) * math.prod(contracted)
    if line.op == "convolution":
      return _convolution(line, *(self._arrays(body, name)[0] for name in line.operands[:2]))
    if line.op == "custom-call" and "tpu_custom_call" in line.rest:
      return kernel_flops(line.name, tuple(a for name in line.operands for a in self._arrays(body, name)))
    return 0.0

  def _traffic(self, body: str, line: Instruction) -> float:
    """Bytes that an instruction outside of fusions moves to and from HBM."""
    hbm = lambda arrays: sum(a.nbytes for a in arrays if not a.fast)
    if line.op in _FREE or 'target="AllocateBuffer"' in line.rest or "Async" in line.rest:
      return 0.0
    read = [self._arrays(body, name) for name in line.operands]
    if line.op in ("copy-start", "slice-start", "dynamic-slice", "slice"):
      made = line.arrays[:1] if line.op != "slice-start" else line.arrays[1:2] or line.arrays[:1]
      size = sum(a.nbytes for a in made)
      return size * (not (read[0] and read[0][0].fast)) + hbm(made)
    if line.op in _UPDATES:
      return 2 * sum(map(hbm, read[_UPDATES[line.op](len(read))]))
    if line.op == "fusion":
      called = _CALLS.findall(line.rest)[0]
      reads, written = self._uses(called)
      total = sum(min(hbm(arrays), reads.get(i, math.inf)) for i, arrays in enumerate(read))
      return total + min(hbm(line.arrays), written)
    return sum(map(hbm, read)) + hbm(line.arrays)

  def _count_reads(self, body: str) -> tuple[dict[int, float], float]:
    """Of a fused computation: bytes read of the parameters that it only slices, and bytes written where it updates."""
    reads: dict[int, float] = {}
    lines = self._by_name[body]
    for line in lines.values():
      if line.op == "parameter":
        names, read = {line.name}, []
        for other in self._bodies[body]:
          places = [i for i, name in enumerate(other.operands) if name in names]
          if places and (other.op == "bitcast" or _IN_PLACE in other.rest):
            names.add(other.name)
          elif places:
            read.append(self._read_by(other, places))
        if read:
          reads[int(line.rest)] = sum(read)
    root = lines[self._roots[body]]
    while root.op == "bitcast":
      root = lines[root.operands[0]]
    if root.op in _UPDATES:
      new = root.operands[_UPDATES[root.op](len(root.operands))]
      return reads, sum(a.nbytes for name in new for a in self._arrays(body, name))
    return reads, self._uses(_CALLS.findall(root.rest)[0])[1] if root.op == "fusion" else math.inf

  def _read_by(self, line: Instruction, places: list[int]) -> float:
    """Bytes that an instruction reads of an operand that stands at these places."""
    if line.op == "fusion":
      inside, _ = self._uses(_CALLS.findall(line.rest)[0])
      return sum(inside.get(place, math.inf) for place in places)
    if places == [0] and line.op in ("dynamic-slice", "slice", "gather"):
      return line.arrays[0].nbytes
    return 0.0 if places == [0] and line.op in _UPDATES else math.inf

  def _note(self, found, body: str, line: Instruction, turns: float, fused: bool) -> None:
    """Books a collective once, though its start, middle and end repeat it."""
    op = line.op.removesuffix("-start")
    channel = re.search(r"channel_id=(\d+)", line.rest)
    key = f"{op} {channel.group(1)}" if channel else f"{body}/{line.name}"
    groups = _group(line.rest, "replica_groups=") or _group(line.rest, "source_target_pairs=")
    made = sum(a.nbytes for a in (line.arrays[-1:] if line.op.endswith("-start") else line.arrays))
    taken = sum(a.nbytes for name in line.operands for a in self._arrays(body, name))
    # An all-reduce is a reduce-scatter and an all-gather.
    size = {"all-reduce": 2 * taken, "reduce-scatter": taken, "collective-permute": taken}.get(op, made)
    overlapped = fused or line.op.endswith("-start") or "async_collective_name" in line.rest
    before = found.get(key, Collective(op, groups, 0.0, False))
    found[key] = Collective(op, groups, max(before.nbytes, turns * size), before.overlapped or overlapped)


def _parted(text: str, end: str, depth: int) -> tuple[str, str]:
  """What stands before and behind the first `end` outside of all brackets, of which `depth` are open at the start."""
  for at, char in enumerate(text):
    depth += (char in "([{") - (char in ")]}")
    if char == end and depth == 0:
      return text[:at], text[at + 1 :]
  return text, ""


def _instruction(name: str, text: str) -> Instruction:
  """Takes `TYPE op(operands), attributes` apart."""
  kind, text = _parted(text, " ", 0)
  op, _, text = text.partition("(")
  inside, rest = _parted(text, ")", 1)
  arrays = tuple(
    Array(k, tuple(int(d) for d in dims.split(",") if d), "S(" in (layout or ""))
    for k, dims, layout in _ARRAY.findall(kind)
  )
  operands = tuple(re.findall(r"%([\w.\-]+)", inside))
  return Instruction(name, arrays, op, operands, inside if op in ("constant", "parameter") else rest)


def _integer(line: Instruction) -> int | None:
  """The value of an integer constant."""
  return int(line.rest) if line.op == "constant" and line.rest.isdigit() else None


def _group(text: str, key: str) -> str:
  """What stands in the braces, or the word, behind a key; "" without it."""
  at = text.find(key)
  if at < 0:
    return ""
  text, depth = text[at + len(key) :], 0
  if named := _NAMED_GROUPS.match(text):
    return named.group(0)
  for i, char in enumerate(text):
    depth += (char in "{[(") - (char in "}])")
    if depth < 0 or depth == 0 and char == "," or depth == 0 and char == " " and not text[i + 1 :].startswith("{"):
      text = text[:i]
      break
  return text[1:-1] if text.startswith("{") and not text.startswith("{{") else text


def _convolution(line: Instruction, left: Array, right: Array) -> float:
  """2 · multiply-adds, those on padding left out: the TPU compiler writes a matrix product of many axes so."""
  lhs, rhs, out = re.split("_|->", _group(line.rest, "dim_labels="))
  window = dict(re.findall(r"(\w+)=([\w\-]+)", _group(line.rest, "window=")))
  result, spatial = line.arrays[0].shape, sorted(c for c in out if c.isdigit())
  of = (
    lambda name, default: [p.split("_") for p in window[name].split("x")]
    if name in window
    else [default] * len(spatial)
  )
  pairs = 1
  settings = zip(
    of("stride", ["1"]), of("pad", ["0", "0"]), of("lhs_dilate", ["1"]), of("rhs_dilate", ["1"]), strict=True
  )
  for c, (stride, pad, spread, step) in zip(spatial, settings, strict=True):
    size = (left.shape[lhs.index(c)] - 1) * int(spread[0]) + 1
    place = np.arange(result[out.index(c)])[:, None] * int(stride[0]) - int(pad[0])
    place = place + np.arange(right.shape[rhs.index(c)])[None] * int(step[0])
    pairs *= int(((place >= 0) & (place < size) & (place % int(spread[0]) == 0)).sum())
  return 2.0 * result[out.index("b")] * result[out.index("f")] * right.shape[rhs.index("i")] * pairs
