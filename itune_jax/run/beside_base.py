"""A base and an adapter of it that are asked the same: in one process, and where it can be by the same programs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.data.render import chat
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.train import checkpoint

BASE, ADAPTER = "base", "adapter"


class Asked(NamedTuple):
  """One of the two.

  name: BASE or ADAPTER. session: the model by itself, as an evaluation of it alone has it. responder: who answers. who:
  what its answers hang on. adapter: its path, "" of the base.
  """

  name: str
  session: session_lib.Session
  responder: requests_lib.Responder
  who: dict[str, Any]
  adapter: str


def one(session: session_lib.Session, rendering: chat.Rendering, decode: decode_lib.Decode, adapter: str) -> Asked:
  """A model alone. adapter: the path of the one that it has, "" for none."""
  responder = session.responder(session.renderer(rendering), decode)
  return Asked(ADAPTER if adapter else BASE, session, responder, who(session, rendering), adapter)


def who(session: session_lib.Session, rendering: chat.Rendering) -> dict[str, Any]:
  """What the answers of a model hang on."""
  return {**session.identity(rendering), "arrays": checkpoint.checksums(session.trainable)}


def both(
  model: specs.Model,
  rendering: chat.Rendering,
  decode: decode_lib.Decode,
  adapter: str,
  *,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  precision: numerics.Precision,
  seed: int,
) -> Iterator[Asked]:
  """The base, then the adapter. An adapter that can act on some rows alone rides on the base: then one copy of the
  weights and one set of compiled programs serve both. Any other is loaded when the base is done.

  Raises InputError where the model or the adapter cannot be had.
  """
  how: dict[str, Any] = dict(mesh=mesh, precision=precision, seed=seed)
  session = session_lib.open_session(model, **how, adapter=adapter)
  riding = _riding(session, adapter)
  if riding is None:
    session = None  # the base is loaded in its place
    yield one(session_lib.open_session(model, **how), rendering, decode, "")
    yield one(session_lib.open_session(model, **how, adapter=adapter), rendering, decode, adapter)
    return
  together, alone = riding.responder(session.renderer(rendering), decode), session.without_methods()
  yield Asked(BASE, alone, together.of(None), who(alone, rendering), "")
  yield Asked(ADAPTER, session, together.of(ADAPTER), who(session, rendering), adapter)


def _riding(session: session_lib.Session, adapter: str) -> session_lib.Session | None:
  """The base on which the adapter rides, None where it changes what all rows share."""
  try:
    return session.with_adapters({ADAPTER: adapter})
  except errors.InputError as e:
    log.info(f"{e}; so base and adapter are loaded one after the other")
    return None
