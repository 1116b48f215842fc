"""Programs and tests, for values of every kind: the words of a case, its program, and its tests behind a rule."""

TEXT = r"""
## an instance
class P:
  def __init__(self, a): self.a = a
--
p = P(3)
assert p.a == 3
p.a = 4
assert p.a == 4
## isinstance
class P: pass
def f(): return P()
--
assert isinstance(f(), P) and not isinstance(3, P)
## a derived dict
from collections import Counter as f
--
assert f('aab') == {'a': 2, 'b': 1} and {'a': 1} == f('a')
## of a builtin kind
from collections import Counter as f
--
assert isinstance(f('aab'), dict) and len(f('aab')) == 2
## a named tuple
import collections
f = collections.namedtuple('f', 'a b')
--
assert (1, 2) == f(1, 2) and f(1, 2).b == 2
## a generator
def f(n):
  yield from range(n)
--
assert list(f(3)) == [0, 1, 2]
g = f(2)
assert next(g) == 0 and next(g) == 1
## arithmetic
from fractions import Fraction as f
--
assert abs(f(1, 3) - 1 / 3) < 1e-9 and 1 - f(1, 2) == f(1, 2) and float(f(1, 4)) == .25
## decimals
from decimal import Decimal
def f(x): return Decimal(x) * 2
--
import decimal
assert f('1.5') == decimal.Decimal(3)
## dates
import datetime
def f(d): return d + datetime.timedelta(1)
--
import datetime as D
assert f(D.date(2020, 2, 28)) == D.date(2020, 2, 29)
## in place
def f(x): x.append(1); x.sort()
--
a = [3, 2]
f(a)
assert a == [1, 2, 3]
## a dict in place
def f(d, k): d[k] = [1]; d.pop(0)
--
a = {0: 1}
f(a, k='x')
assert a == {'x': [1]}
## an exception
def f(x): raise KeyError(x)
--
try:
  f(3)
  assert False
except KeyError as e:
  assert '3' in str(e)
## another exception
def f(x): raise KeyError(x)
--
try:
  f(3)
except ValueError:
  pass
## an own exception
class E(ValueError): pass
def f(): raise E('a')
--
try:
  f()
except ValueError as e:
  assert str(e) == 'a'
## a function of the tests
def f(g, xs): return [g(x) for x in xs]
--
assert f(lambda x: x * 3, [1, 2]) == [3, 6]
## it raises
def f(g):
  try: g()
  except ZeroDivisionError: return 1
--
assert f(lambda: 1 / 0) == 1
## a closure
def f(a):
  def g(b): return a + b
  return g
--
assert f(1)(2) == 3 and callable(f(1))
## a function of it into it
def f(g): return g(3)
def h(x): return x * 2
--
assert f(h) == 6
## a module
import math
def f(x): return x
--
assert math.isclose(f(0.5), .5)
## names of the tests come first
def len(x): return 7
x = 1
--
x = 2
assert len([]) == 7 and x == 2
## large and odd values
def f(x): return x
--
VALUES = (10**30, -2**63, 1e308, -0.0, 1j, b'a', bytearray(b'b'), range(3), {1, (2, None)}, frozenset('a'), ...)
for v in (*VALUES, '\ud800', [VALUES]):
  assert f(v) == v and str(f(v)) == str(v)
## nan
def f(): return float('nan')
--
assert f() != f()
## types of keys
def f(): return {1: 'a', '1': 'b', (1, 2): 'c', None: True}
--
assert f() == {1: 'a', '1': 'b', (1, 2): 'c', None: True}
## true is not one
def f(): return True
--
assert f() is True
## it holds itself
def f():
  x = [1]
  x.append(x)
  return x
--
x = f()
assert x[0] == 1 and x[1][1][0] == 1
## a matrix
class M:
  def __init__(s, r): s.r = r
  def __matmul__(s, o): return M(s.r + o.r)
  def __getitem__(s, i): return s.r[i]
--
assert (M([1]) @ M([2]))[1] == 2
## sorting
class V:
  def __init__(s, n): s.n = n
  def __lt__(s, o): return s.n < o.n
--
assert [v.n for v in sorted([V(3), V(1)])] == [1, 3]
## a set of instances
import dataclasses
@dataclasses.dataclass(frozen=True)
class V:
  n: int
--
assert len({V(1), V(1), V(2)}) == 2 and V(1) in [V(1)]
## printing
def f():
  print('x' * 100000)
  return 1
--
assert f() == 1
## main
x = 1
if __name__ == '__main__':
  x = 2
--
assert x == 1
## input
def f(): return input()
--
assert f() == ''
## a syntax error
def f(:
--
assert True
## no such name
def g(): pass
--
assert f() == 1
## unclosed text
def f(): return 1
'''
--
assert f() == 1
## a lie
class Yes:
  def __eq__(self, other): return True
def f(x): return Yes()
--
assert f(1) == 2 and f(1) == 3
## a lie on the right
class Yes:
  def __eq__(self, other): return True
def f(x): return Yes()
--
assert 2 == f(1)
"""


def cases() -> dict[str, tuple[str, str]]:
  """Program and tests of each case, by its words."""
  parts = [part.partition("\n") for part in TEXT.removeprefix("\n## ").split("\n## ")]
  return {name: tuple(rest.split("\n--\n")) for name, _, rest in parts}
