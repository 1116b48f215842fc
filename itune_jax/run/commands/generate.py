"""`itune generate`: answers to prompts, from flags, a file, or a person at the terminal."""

from collections.abc import Callable
import json
import os
import sys
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import numerics
from itune_jax.data.render import chat
from itune_jax.data import example as example_lib
from itune_jax.data.readers import readers
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import results
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.sampling.decode import decode as decode_lib


class Chat:
  """A model that answers conversations; loaded once."""

  def __init__(
    self,
    model: specs.Model,
    rendering: chat.Rendering,
    mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
    precision: numerics.Precision,
    adapter: str,
  ):
    model = adapters_lib.model_behind(model, adapter)
    self._session = session_lib.open_session(model, mesh=mesh, precision=precision, adapter=adapter)
    self._renderer = self._session.renderer(rendering)

  def answer(
    self,
    conversations: list[list[dict[str, Any]]],
    decode: decode_lib.Decode,
    progress: Callable[[int], None] = lambda n: None,
  ) -> list[str]:
    """One text per conversation. Raises InputError for a conversation that does not render."""
    try:
      prompts = [self._renderer.prompt_ids(messages) for messages in conversations]
      images = [self._renderer.prompt_images(messages) for messages in conversations]
    except example_lib.BadRow as e:
      raise errors.InputError(str(e)) from None
    outputs = self._session.engine(progress).generate(prompts, decode, images)
    return [self._session.tokenizer.decode(out.tokens, skip_special_tokens=True) for out in outputs]


def generate(
  *,
  model: specs.Model,
  rendering: chat.Rendering,
  decode: decode_lib.Decode,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  precision: numerics.Precision,
  adapter: str = "",
  conversations: list[list[dict[str, Any]]] | None = None,
) -> list[str] | tuple[Chat, decode_lib.Decode]:
  """Answers, or without conversations the loaded model and its settings, for a dialogue."""
  talker = Chat(model, rendering, mesh, precision, adapter)
  if conversations is None:
    return talker, decode
  with console.Bars("answers") as bars:
    return talker.answer(conversations, decode, bars.add("generate", total=len(conversations)).advance)


def from_flags(args: command.Args) -> None:
  """Runs the command: prints answers, writes them, or holds a dialogue. Raises InputError for unreadable prompts."""
  if args.interactive:
    _dialogue(*gin_setup.call(generate, adapter=args.adapter))
    return
  conversations = [_asked(prompt, args.image) for prompt in args.prompt] + _from_file(args.prompts)
  answers = gin_setup.call(generate, adapter=args.adapter, conversations=conversations)
  rows = [{"messages": c, "output": a} for c, a in zip(conversations, answers, strict=True)]
  if args.output:
    files.write_text(args.output, results.lines(rows))
  elif args.prompts:
    print(results.lines(rows), end="")
  else:
    print("\n\n".join(answers))


def _dialogue(talker: Chat, decode: decode_lib.Decode) -> None:
  messages: list[dict[str, Any]] = []
  while True:
    print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline().strip()
    if not line:
      return
    messages.append({"role": "user", "content": line})
    answer = talker.answer([messages], decode)[0]
    messages.append({"role": "assistant", "content": answer})
    print(answer, flush=True)


def _asked(prompt: str, images: list[str]) -> list[dict[str, Any]]:
  """A user's turn, images first."""
  parts = [{"type": "image", "image": os.path.abspath(file)} for file in images]
  return [{"role": "user", "content": [*parts, {"type": "text", "text": prompt}] if parts else prompt}]


def _from_file(path: str) -> list[list[dict[str, Any]]]:
  if not path:
    return []
  found = []
  try:
    with open(path, encoding="utf-8") as f:
      for number, line in enumerate(f, 1):
        if line.strip():
          found.append(_conversation(json.loads(line), f"{path}:{number}"))
  except (OSError, ValueError) as e:
    if isinstance(e, errors.InputError):
      raise
    raise errors.InputError(f"{path}: cannot be read as JSON lines ({e})") from None
  return found


def _conversation(row: Any, where: str) -> list[dict[str, Any]]:
  if isinstance(row, dict) and isinstance(row.get("messages"), list) and row["messages"]:
    try:
      folder = os.path.dirname(where.rpartition(":")[0])
      messages = [readers.place_images(m, [], folder) for m in row["messages"]]
    except example_lib.BadRow as e:
      raise errors.InputError(f"{where}: {e}") from None
    return messages[:-1] if messages[-1].get("role") == "assistant" else messages
  if isinstance(row, dict) and isinstance(row.get("prompt"), str):
    return [{"role": "user", "content": row["prompt"]}]
  raise errors.InputError(f"{where}: a row needs `prompt` (text) or `messages`")
