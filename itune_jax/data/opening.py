"""A mixture with the rows of its origins at hand: each task, data set or dataset is then a source of kept rows."""

from collections.abc import Callable, Mapping
import dataclasses

from itune_jax.core import check
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.origins import origin as origin_lib
from itune_jax.data.origins import pins

Open = Callable[[origin_lib.Origin], list[pins.Pinned]]


def read(
  mixture: mixture_lib.Mixture, root: str, modules: Mapping[str, str], progress: Callable[[], None] = lambda: None
) -> mixture_lib.Mixture:
  """Reads every origin of a mixture anew into the cache. modules: files of the user's modules, by name.

  Raises InputError for an origin that cannot be read, and where rates of a mixture of SeqIO would be lost.
  """
  return _opened(mixture, lambda origin: pins.read(origin, root, modules, progress))


def known(mixture: mixture_lib.Mixture, root: str, modules: Mapping[str, str]) -> mixture_lib.Mixture:
  """The same from what was read before, importing nothing. Raises InputError where it was not, or has changed."""
  return _opened(mixture, lambda origin: pins.known(origin, root, modules))


def _opened(mixture: mixture_lib.Mixture, open_origin: Open) -> mixture_lib.Mixture:
  if all(source.read_from() is None for source in mixture.sources):
    return mixture
  sources, rates = [], mixture.rates
  for source in mixture.sources:
    origin = source.read_from()
    if origin is None:
      sources.append(source)
      continue
    parts = open_origin(origin)
    if len(parts) > 1:
      check.require(
        len(mixture.sources) == 1 or mixture.rates == "given",
        f"Mixture {mixture.name}: {origin.called} has rates of its own: set Mixture.rates = 'given', and Source.rate",
      )
      rates = "given"
    total = sum(part.rate for part in parts)
    sources += [_source(source, part, part.rate / total, len(parts), len(mixture.sources)) for part in parts]
  return dataclasses.replace(mixture, sources=tuple(sources), rates=rates)


def _source(
  source: mixture_lib.Source, part: pins.Pinned, share: float, parts: int, sources: int
) -> mixture_lib.Source:
  name = source.name if parts == 1 else part.name if sources == 1 else f"{source.name}.{part.name}"
  own = dict(task="", tfds="", grain="", origin=None, split="", data_dir="", chat="")
  return dataclasses.replace(source, **own, name=name, path=f"{pins.SCHEME}{part.folder}", rate=source.rate * share)
