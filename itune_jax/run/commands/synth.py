"""`itune synth`: rows of instruction data by a generator, asked of a model on the mesh or of endpoints."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

import jax
import rich.table

from itune_jax.core import jsontext
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.data.render import chat
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run.commands import synth_flags
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import breaker
from itune_jax.sampling.responders import budget
from itune_jax.sampling.responders import http
from itune_jax.synth import generator as generator_lib
from itune_jax.synth import manifest as manifest_lib
from itune_jax.synth import runner
from itune_jax.train import checkpoint

Responders = Mapping[str, requests_lib.Responder]


def synth(
  *,
  generator: generator_lib.Generator,
  teacher: manifest_lib.Teacher,
  model: specs.Model,
  rendering: chat.Rendering,
  decode: decode_lib.Decode,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  precision: numerics.Precision,
  out: str,
  limits: runner.Limits,
  adapter: str = "",
  as_asked: bool = False,
  roles: Sequence[synth_flags.Role] = (),
  endpoints: Responders | None = None,
  batch: int = 64,
  resume: runner.Resume = "if-possible",
  licence: str = "",
) -> dict[str, Any]:
  """Runs a generator into a folder; returns its manifest without the texts of prompts.

  generator: what makes rows. teacher: who is asked, under which licence, at which price. model: the base. rendering:
  how conversations become tokens. decode: how answers are drawn where the generator does not say. mesh: how devices are
  laid out. precision: which dtype holds what. out: the folder. limits: when the run ends. adapter: what is put on the
  base, "" for nothing. as_asked: uses model and rendering as given. roles: adapters of roles on the same base.
  endpoints: who answers by role where it is not the model; "" for all roles that are not named. batch: items under way
  together. resume: what is done with a run that stands in the folder. licence: of what the teacher says, in place of
  the teacher's own.
  """
  runner.check_ends(generator, limits)
  teacher = dataclasses.replace(teacher, licence=licence) if licence else teacher
  elsewhere: Responders = endpoints or {}
  found = dict.fromkeys(generator.roles, elsewhere[""]) if "" in elsewhere else {}
  found |= {role: one for role, one in elsewhere.items() if role}
  who: dict[str, Any] = {role: dict(responder.settings) for role, responder in found.items()}
  local = [role for role in generator.roles if role not in found]
  if local:
    model, rendering = adapters_lib.as_trained(model, rendering, adapter, as_asked)
    labels = {role.name: role.where for role in roles if not role.is_endpoint}
    here = _Here(model, rendering, decode, mesh, precision, adapter, labels)
    for role, (responder, told) in here.of(local).items():
      found[role], who[role] = responder, told
  teacher = _named(teacher, who[generator.roles[0]], model)
  with console.Bars("rows") as bars:
    bar = bars.add(f"synth {generator.name}", total=limits.accept or None)
    how: dict[str, Any] = {"limits": limits, "teacher": teacher, "batch": batch, "resume": resume}
    told = _run(generator, found, out, identity={"who": who}, progress=bar.advance, **how)
    bar.finish()
  show(told)
  return {key: value for key, value in told.items() if key not in ("prompts", "who", "generator")}


def _run(generator: generator_lib.Generator, found: Responders, out: str, **how: Any) -> dict[str, Any]:
  """The runner; a program that failed in one of several processes means that another one is gone."""
  try:
    return runner.run(generator, found, out, **how)
  except jax.errors.JaxRuntimeError as e:
    if jax.process_count() == 1:
      raise
    raise errors.RunError(
      f"{out}: another process of this run is gone ({jsontext.said(e, 120)}); start all of them again with "
      "the same command: what was answered is kept"
    ) from None


@dataclasses.dataclass(frozen=True)
class _Here:
  """A model on this mesh, with the teacher's adapter and those of roles."""

  model: specs.Model
  rendering: chat.Rendering
  decode: decode_lib.Decode
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto
  precision: numerics.Precision
  adapter: str
  labels: Mapping[str, str]

  def of(self, roles: Sequence[str]) -> dict[str, tuple[requests_lib.Responder, dict[str, Any]]]:
    """Who answers in each role, and what makes its answers what they are."""
    teacher = generator_lib.TEACHER
    # Side by side all adapters ride on the base, so the teacher's own stands among them.
    riding = {**({teacher: self.adapter} if self.adapter else {}), **self.labels} if self.labels else {}
    alone = "" if riding else self.adapter
    session = session_lib.open_session(self.model, mesh=self.mesh, precision=self.precision, adapter=alone)
    session = session.with_adapters(riding) if riding else session
    asked = session.responder(session.renderer(self.rendering), self.decode)
    identity = {**session.identity(self.rendering), "arrays": checkpoint.checksums(session.trainable)}
    found = {}
    for role in roles:
      label = role if role in riding else teacher if teacher in riding else None
      told = {**asked.settings, **identity, "adapter": riding.get(label or "", alone)}
      found[role] = (asked.of(label) if riding else asked, told)
    return found


def _named(teacher: manifest_lib.Teacher, who: Mapping[str, Any], model: specs.Model) -> manifest_lib.Teacher:
  """The teacher, called as the model is that is asked, where nobody gave another name."""
  name = str(who["model"]) if "url" in who else model.base
  return dataclasses.replace(teacher, name=name) if teacher.name == manifest_lib.NOT_STATED else teacher


def show(manifest: Mapping[str, Any]) -> None:
  """Prints the funnel, what it cost, and how far the rows differ."""
  shown = rich.table.Table("candidates", "rows", "share")
  total = max(manifest["candidates"], 1)
  for what, count in runner.funnel(manifest):
    shown.add_row(what, f"{count}", f"{count / total:.1%}")
  console.show(shown)
  tokens, spread = manifest["tokens"], manifest["spread"]
  told = f"{tokens['prompt']} + {tokens['answer']} tokens in {manifest['requests']} requests, cost {manifest['cost']}"
  alike = f"{spread['alike']:.1%} of {spread['compared']} questions resemble an earlier one"
  log.info(f"ended: {manifest['ended']}; {told}; {alike}")
  for name, one in spread.items():
    if isinstance(one, dict):
      log.info(f"{name}: {one['values']} values, evenness {one['evenness']:.2f}")


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the manifest."""
  limits = runner.Limits(accept=args.accept, candidates=args.candidates, tokens=args.tokens)
  given = {"out": args.out, "limits": limits, "adapter": args.adapter, "as_asked": args.as_asked}
  given |= {"roles": args.roles, "batch": args.batch, "resume": args.resume}
  return gin_setup.call(synth, licence=args.licence, endpoints=_endpoints(args), **given)


def _endpoints(args: command.Args) -> dict[str, requests_lib.Responder]:
  """Who answers elsewhere, by role; of all roles ("") where the teacher is an endpoint."""
  spent = budget.Budget(requests=args.requests, tokens=args.spend)
  key = os.environ.get(args.key_env, "") if args.key_env else ""
  check.require(key or not args.key_env, f"--key_env: the environment has no {args.key_env}")
  shared = {"key": key, "at_a_time": args.at_a_time, "budget": spent, "failed": "answer"}
  guard = lambda: breaker.Breaker() if args.breaker == "off" else breaker.Breaker(faults=20, then=args.breaker)
  make = lambda url, model: http.HttpResponder(url=url, model=model, breaker=guard(), **shared)
  found: dict[str, requests_lib.Responder] = {
    role.name: make(role.where, role.model) for role in args.roles if role.is_endpoint
  }
  return found | ({"": make(args.responder, args.responder_model)} if args.responder else {})
