"""What lm-eval's result files say of a run beside its figures: versions, tokenizer, prompts, settings."""

from collections.abc import Mapping, Sequence
import datetime
import importlib.metadata
import json
import platform
import time
from typing import Any

import jax

import itune_jax
from itune_jax.core import contracts
from itune_jax.core import conversation
from itune_jax.core import log
from itune_jax.data.render import chat
from itune_jax.evals import lm_eval_results
from itune_jax.evals import protocol
from itune_jax.run import session as session_lib
from itune_jax.run import suites

_TOKENS = ("pad", "eos", "bos")


def after(
  folder: str, name: str, session: session_lib.Session | None = None, renderer: chat.Renderer | None = None
) -> suites.After | None:
  """What writes a suite's results into a folder when it is done; None without a folder. The clock starts here."""
  started = time.time()

  def done(measured: Sequence[tuple[protocol.Benchmark, contracts.EvalResult]]) -> None:
    if log.is_lead():
      template = renderer.template().source if renderer and any(_is_chat(b) for b, _ in measured) else None
      own = tasks(measured, renderer)
      path = write(folder, own, name=name, started=started, session=session, template=template)
      log.info(f"as lm-eval writes its results: {path}")

  return done if folder else None


def _is_chat(benchmark: protocol.Benchmark) -> bool:
  first = next(iter(benchmark.items()), None)
  return first is not None and not isinstance(lm_eval_results.prompt_of(benchmark, first, 0), str)


def write(
  folder: str,
  tasks: Sequence[lm_eval_results.Task],
  *,
  name: str,
  started: float,
  session: session_lib.Session | None = None,
  template: str | None = None,
  **settings: Any,
) -> str:
  """Writes `results_*.json` and `samples_*.jsonl` below a folder; returns the path of the first.

  name: of the model, or of who gave the answers. started: when, as `time.time` has it. session: the model, where it ran
  here. template: the chat template that questions were written with, None for none. settings: of the evaluation, by
  lm-eval's names (`limit`, `batch_size`, `seed`, …) or others.

  Raises InputError without a task, and for two of one name.
  """
  start = datetime.datetime.fromtimestamp(started)
  info = {} if session is None else _model(session)
  run = lm_eval_results.Run(
    model=name,
    arguments={"base": session.model.base} if session else {},
    config={**info, **_config(settings)},
    facts={**_environment(), **({} if session is None else _tokenizer(session)), **_prompts(template)},
    start=start,
    seconds=time.time() - started,
  )
  return lm_eval_results.write(folder, tasks, run)


def tasks(
  measured: Sequence[tuple[protocol.Benchmark, contracts.EvalResult]], renderer: chat.Renderer | None = None
) -> list[lm_eval_results.Task]:
  """Benchmarks and their results as lm-eval's tasks. renderer: of the model, by which conversations became text."""

  def written(asked: conversation.Conversation | str) -> str:
    if isinstance(asked, str):
      return asked
    if renderer is None:  # an endpoint has a template of its own
      return json.dumps([dict(message) for message in asked.messages], ensure_ascii=False)
    return renderer.tokenizer.decode(renderer.prompt(asked).ids)

  return [lm_eval_results.task_of(benchmark, result, written) for benchmark, result in measured]


def _model(session: session_lib.Session) -> dict[str, Any]:
  size = sum(value.size for value in session.base.params.values())
  dtype, sha = session.binder.compute, session.base.digest
  return {"model_num_parameters": size, "model_dtype": dtype, "model_revision": "", "model_sha": sha}


def _config(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Settings under lm-eval's names; what this project does not have is None."""
  seed = settings.get("seed")
  names = {"random_seed": seed, "numpy_seed": seed, "torch_seed": None, "fewshot_seed": seed}
  found = {"batch_size": None, "batch_sizes": [], "device": jax.default_backend(), "use_cache": None, "limit": None}
  found |= {"bootstrap_iters": 0, "gen_kwargs": None, **names}
  return found | {key: value for key, value in settings.items() if key != "seed"}


def _environment() -> dict[str, Any]:
  """Versions. No lm-eval ran: under its version stands whose files these are, and which schema they have."""
  ours = f"itune_jax {itune_jax.__version__} (files as lm-eval {lm_eval_results.SCHEMA} writes them)"
  versions = (
    f"Python {platform.python_version()}, jax {jax.__version__} on {jax.default_backend()}, {platform.platform()}"
  )
  return {
    "git_hash": None,
    "pretty_env_info": versions,
    "transformers_version": importlib.metadata.version("transformers"),
    "lm_eval_version": ours,
    "upper_git_hash": None,
  }


def _tokenizer(session: session_lib.Session) -> dict[str, Any]:
  tokenizer = session.tokenizer
  ids = {"pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id, "bos": tokenizer.bos_token_id}
  texts = {"pad": tokenizer.pad_token, "eos": tokenizer.eos_token, "bos": tokenizer.bos_token}
  found: dict[str, Any] = {f"tokenizer_{one}_token": [texts[one], str(ids[one])] for one in _TOKENS}
  return found | {"eot_token_id": tokenizer.eos_token_id, "max_length": session.base.cfg.max_length}


def _prompts(template: str | None) -> dict[str, Any]:
  sha = lm_eval_results.digest(template) if template else None
  found = {"system_instruction": None, "system_instruction_sha": None, "fewshot_as_multiturn": bool(template)}
  return {**found, "chat_template": template, "chat_template_sha": sha}
