"""The notebook facade: load, look, generate, score, attach, train, export.

from itune_jax import api
m = api.load("smollm2-135m-instruct")
m.generate(["What is the capital of France? Answer in one sentence."])
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import io
import json
import os
import shlex
import subprocess
import sys
from typing import Any

import numpy as np

from itune_jax.run import quiet

quiet.settle()  # before JAX is imported below: what libraries print, and which devices they look for

from itune_jax.core import check  # noqa: E402
from itune_jax.core import errors  # noqa: E402
from itune_jax.core import files  # noqa: E402
from itune_jax.core import numerics  # noqa: E402
from itune_jax.core import rng  # noqa: E402
from itune_jax.data.render import chat  # noqa: E402
from itune_jax.data.render import text as text_lib  # noqa: E402
from itune_jax.nn import quant as quant_lib  # noqa: E402
from itune_jax.parallel import mesh as mesh_lib  # noqa: E402
from itune_jax.peft import attach as attach_lib  # noqa: E402
from itune_jax.peft.combine import arithmetic  # noqa: E402
from itune_jax.peft.methods import tokens as tokens_lib  # noqa: E402
from itune_jax.run import adapters as adapters_lib  # noqa: E402
from itune_jax.run import arguments  # noqa: E402
from itune_jax.run import cli  # noqa: E402
from itune_jax.run import gin_setup  # noqa: E402
from itune_jax.run import loading  # noqa: E402
from itune_jax.run import process  # noqa: E402
from itune_jax.run import session as session_lib  # noqa: E402
from itune_jax.run import specs  # noqa: E402
from itune_jax.run.commands import export as export_lib  # noqa: E402
from itune_jax.run.commands import train as train_lib  # noqa: E402
from itune_jax.run.report import page  # noqa: E402
from itune_jax.sampling import requests as requests_lib  # noqa: E402
from itune_jax.sampling.decode import decode as decode_lib  # noqa: E402
from itune_jax.sampling.decode import watch  # noqa: E402
from itune_jax.train import checkpoint  # noqa: E402

Message = Mapping[str, Any]
"""A message of a conversation: `{"role": "user", "content": "…"}`, as chat templates take it."""


@dataclasses.dataclass(repr=False)
class Model:
  """A loaded model.

  session: its parts: mesh, base, attached methods, tokenizer.
  """

  session: session_lib.Session

  def __repr__(self) -> str:
    s = self.session
    methods = ", ".join(type(method).__name__ for method in s.attached.methods) or "none"
    count = loading.count(s.base.params, s.base)
    return f"<Model {s.model.base}: {s.base.cfg.family}, {count:,} parameters; methods: {methods}>"

  def logits(self, tokens_BT, prefix: int | None = None) -> np.ndarray:
    """Logits [B, T, V], float32, of rows of token ids; the first `prefix` are the source of an encoder-decoder.

    Raises InputError for what is no rectangle of ids of this model.
    """
    tokens_BT = arguments.tokens(tokens_BT, self._vocab())
    check.require(
      prefix is None or 0 < prefix <= tokens_BT.shape[1], f"prefix = {prefix}, of rows of {tokens_BT.shape[1]} tokens"
    )
    return export_lib.logits(self.session.binder, self.session.attached.params, tokens_BT, prefix)

  def _vocab(self) -> int:
    """How many ids there are, new tokens included."""
    added = [i for m in self.session.attached.methods if isinstance(m, tokens_lib.Tokens) for i in m.ids]
    return max(self.session.base.cfg.vocab, *(i + 1 for i in added), 0)

  def generate(
    self,
    prompts: str | Sequence[Message] | Sequence[str | Sequence[Message]],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: str | Sequence[str] | None = None,
    adapters: Sequence[str | None] | None = None,
    n: int = 1,
    on_text: Callable[[watch.Piece], None] | None = None,
    **sampling: Any,
  ) -> Any:
    """Answers to prompts (text, or lists of messages) through the chat template.

    Returns a list of texts, and of one text or conversation given by itself its answer alone; with n > 1 a list of n
    texts in place of each answer.

    A last message of the assistant is continued. stop: strings that end an answer and are no part of it. adapters: the
    name of each prompt's adapter, None for the base, of a model `with_adapters`. on_text: gets what is new of each
    answer as it comes, by the number of its prompt and sample. sampling: more fields of `decode.Decode`, such as top_k,
    min_p, repetition_penalty.

    Raises InputError for values that cannot be, and conversations that the template refuses.
    """
    given, alone = arguments.prompts(prompts)
    own = [None] * len(given) if adapters is None else list(adapters)
    check.require(len(own) == len(given), f"{len(given)} prompts take {len(given)} adapters' names or None: {len(own)}")
    decode = decode_lib.Decode(
      max_new_tokens=max_new_tokens,
      temperature=float(temperature),
      top_p=float(top_p),
      seed=seed,
      batch=min(8, max(1, len(given) * n)),
      **sampling,
    )
    stops = decode_lib.stops_of(stop or ())
    asked = [
      requests_lib.Request(conversation=prompt, id=str(i), n=n, stop=stops, adapter=adapter)
      for i, (prompt, adapter) in enumerate(zip(given, own, strict=True))
    ]
    responder = self.session.responder(self.session.renderer(chat.Rendering()), decode)
    found = dataclasses.replace(responder, on_text=on_text).answer(asked)
    texts = [[sample.text for sample in one.samples] if n > 1 else one.text for one in found]
    return texts[0] if alone else texts

  def loglikelihood(
    self, pairs: Sequence[tuple[str, str]], adapters: Sequence[str | None] | None = None
  ) -> list[tuple[float, bool]]:
    """(sum of log-probabilities in nats, is it the greedy continuation) of (context, continuation) texts.

    Tokenised as lm-evaluation-harness does: white space at the end of the context moves to the continuation. adapters:
    as for `generate`.
    """
    pairs = arguments.pairs(pairs)
    own = [None] * len(pairs) if adapters is None else list(adapters)
    check.require(len(own) == len(pairs), f"{len(pairs)} pairs take {len(pairs)} adapters' names or None: {len(own)}")
    asked = [requests_lib.Pair(*pair, adapter) for pair, adapter in zip(pairs, own, strict=True)]
    found = self.session.responder(text_lib.Renderer(self.session.tokenizer)).score(asked)
    return [(score.logprob, score.is_greedy) for score in found]

  def attach(self, methods: Any, seed: int = 0) -> "Model":
    """This model with methods attached (in place of earlier ones); nothing is copied."""
    methods = tuple(methods) if isinstance(methods, (list, tuple)) else (methods,)
    s = self.session
    started = [m.name for m in attach_lib.on_sites(methods) if m.statistic]
    if started:
      raise errors.InputError(f"{', '.join(started)}: starts from data or from the whole weights; train it by a recipe")
    attached = attach_lib.attach(
      s.base.module, s.base.params, methods, rng.named(rng.root(seed), "peft"), mesh=s.mesh, rules=s.rules
    )
    return Model(s.with_attached(attached))

  def with_adapters(self, adapters: Mapping[str, str]) -> "Model":
    """This model's base with several saved adapters (run directories, checkpoints, PEFT folders) by name.

    `generate` and `loglikelihood` then take a name for each row: one batch serves all of them. Raises InputError, by
    name, for adapters that cannot differ from row to row (changed kernels, tables, biases, learned tokens, experts).
    """
    return Model(self.session.with_adapters(adapters))

  def as_lora(self, rank: int) -> tuple["Model", float]:
    """This model with its adapter as a LoRA of this rank, by SVD, and the share of the update that is lost.

    Raises InputError, by name, when a method is not linear in its input or changes more than projections.
    """
    s = self.session
    update = arithmetic.update_of(s.attached, s.base.params)
    lora, residual = arithmetic.factorise(s.base.module, s.base.params, update, rank, mesh=s.mesh, rules=s.rules)
    return Model(s.with_attached(lora)), residual

  def save(self, folder: str) -> None:
    """Writes the trainable arrays as a checkpoint that `load(folder)` reads; the base is referred to, not copied."""
    self.session.require_one("save")
    check.require(
      not self.session.base.is_parted, "its embedding and output projection have parted: write it by api.export_peft"
    )
    checkpoint.save_trainable(
      folder, self.session.trainable, self.session.identity(chat.Rendering()), self.session.constants
    )


@dataclasses.dataclass(frozen=True)
class Run:
  """A finished run.

  run_dir: where it lies. metrics: figures of the last step and of the evaluations. report_path: the report, a page.
  """

  run_dir: str
  metrics: dict[str, float]
  report_path: str

  def model(self) -> Model:
    """The trained model, from the newest checkpoint."""
    return load(self.run_dir)


def load(
  path: str,
  adapter: str | None = None,
  dtype: numerics.Dtype = "float32",
  mesh: mesh_lib.MeshSpec | None = None,
  quant: quant_lib.Quant | None = None,
  base: str = "",
) -> Model:
  """Loads a model.

  Args:
    path: a known name, Hugging Face folder, .gguf file, hub id, own run directory or checkpoint, or PEFT folder.
    adapter: a run directory, checkpoint or PEFT folder to put on it. quant: packs the frozen kernels.
    base: where the base of a run, checkpoint or PEFT folder is, when it is not where it was.

  Raises:
    InputError when nothing of the kind is there, or the adapter belongs to another base.
  """
  model = specs.Model(base=path)
  if adapters_lib.is_peft(path) or files.exists(os.path.join(path, "COMMITTED")) or _is_run(path):
    check.require(adapter is None, f"{path} is an adapter by itself: load its base to put {adapter} on it")
    model, adapter = adapters_lib.model_behind(specs.Model(), path, base), path
  else:
    check.require(not base, f"base = {base!r} is for an adapter, and {path} is none")
  model = model if quant is None else dataclasses.replace(model, quant=quant)
  precision = numerics.Precision(frozen=dtype, trained="float32", compute=dtype)
  return Model(
    session_lib.open_session(model, mesh=mesh or mesh_lib.MeshSpec(), precision=precision, adapter=adapter or "")
  )


def _is_run(path: str) -> bool:
  return files.exists(os.path.join(path, "checkpoints"))


def train(
  recipe: str,
  overrides: Mapping[str, Any] | None = None,
  run_dir: str = "runs/notebook",
  rows: Sequence[Mapping[str, Any]] | None = None,
) -> Run:
  """Prepares the data if need be (in a process of its own), trains as the recipe says, and writes the report.

  rows: the data, as the rows of a file would be, in place of the recipe's DATA. Raises InputError for what is none.
  """
  if rows is not None:
    check.require("DATA" not in (overrides or {}), "api.train takes rows, or DATA in overrides")
    overrides = {**(overrides or {}), "DATA": arguments.rows_file(rows, os.path.join(specs.cache_dir(), "rows"))}
  lines = [f"{name} = {value!r}" for name, value in (overrides or {}).items()]
  flags = [f"--gin.{name}={value!r}" for name, value in (overrides or {}).items()]
  prepare = subprocess.run(
    [sys.executable, "-m", "itune_jax.run.cli", "prepare", f"--gin_file={recipe}", *flags],
    capture_output=True,
    text=True,
    check=False,
  )
  if prepare.returncode:
    raise errors.InputError((prepare.stderr.strip().splitlines() or ["prepare failed"])[-1].removeprefix("itune: "))
  process.configure_jax()
  gin_setup.parse("train", [recipe], lines)
  started_by = ("api.train", recipe, json.dumps(dict(overrides or {}), default=str))
  done = gin_setup.call(train_lib.Train)(run_dir=run_dir, argv=started_by)
  path, _ = page.write(run_dir)
  return Run(run_dir, done.metrics, path)


def command(line: str) -> Any:
  """Runs a command in this process, written as in a shell: `api.command("itune eval --suite=own --base=folder")`.

  Returns what the command line prints as JSON; text for a person is printed. Raises RunError where the command fails;
  what it said stands above.
  """
  words = shlex.split(line)
  words = words[1:] if words[:1] == ["itune"] else words
  with contextlib.redirect_stdout(io.StringIO()) as out:
    code = cli.main(words)
  if code:
    raise errors.RunError(f"itune {words[0] if words else ''} ended with {code}: see above")
  *text, last = out.getvalue().splitlines() or [""]
  try:
    found = json.loads(last)
  except ValueError:
    text, found = [*text, last], None
  if any(text):
    print("\n".join(text))
  return found


def export_hf(
  model: Model, folder: str, merge: bool = True, dtype: numerics.Dtype = "float32", overwrite: bool = False
) -> dict[str, Any]:
  """Writes a Hugging Face model folder, adapters merged in or (merge=False) left out; returns the manifest.

  overwrite: replaces an earlier export. Raises InputError for a folder that is in use otherwise.
  """
  session = model.session if merge else model.attach(()).session
  return export_lib.write(session, chat.Rendering(), format="hf", dtype=dtype, out=folder, overwrite=overwrite)


def export_peft(model: Model, folder: str, overwrite: bool = False) -> dict[str, Any]:
  """Writes the adapter as a Hugging Face PEFT folder; returns the manifest.

  overwrite: replaces an earlier export. Raises InputError for a folder that is in use otherwise.
  """
  how: dict[str, Any] = dict(format="peft", dtype="float32", out=folder, overwrite=overwrite)
  return export_lib.write(model.session, chat.Rendering(), **how)
