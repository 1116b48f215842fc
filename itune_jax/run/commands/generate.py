"""`itune generate`: answers to prompts, from flags, a file, or a person at the terminal."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
import sys
from typing import Any

from itune_jax.core import conversation
from itune_jax.core import files
from itune_jax.core import numerics
from itune_jax.data.render import chat
from itune_jax.data.readers import readers
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import results
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run.commands import generate_flags
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import watch


class Chat:
  """A model that answers conversations; loaded once."""

  def __init__(
    self,
    model: specs.Model,
    rendering: chat.Rendering,
    mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
    precision: numerics.Precision,
    adapter: str,
    as_asked: bool = False,
  ):
    model, rendering = adapters_lib.as_trained(model, rendering, adapter, as_asked)
    self._session = session_lib.open_session(model, mesh=mesh, precision=precision, adapter=adapter)
    self._renderer = self._session.renderer(rendering)

  def answer(
    self,
    conversations: Sequence[conversation.Conversation],
    decode: decode_lib.Decode,
    progress: Callable[[int], None] = lambda n: None,
    on_text: Callable[[watch.Piece], None] | None = None,
    names: Sequence[str] = (),
  ) -> list[str]:
    """`decode.n` texts per conversation. on_text: gets what is new of each as it comes. names: what messages call each,
    its number unless given. Raises InputError for a conversation that does not render, or is too long."""
    named = names or [f"prompt {i + 1}" for i in range(len(conversations))]
    asked = [
      requests_lib.Request(conversation=c, id=str(i), n=decode.n, where=where)
      for i, (c, where) in enumerate(zip(conversations, named, strict=True))
    ]
    responder = dataclasses.replace(self._session.responder(self._renderer, decode), on_text=on_text)
    return [sample.text for response in responder.answer(asked, progress) for sample in response.samples]


def generate(
  *,
  model: specs.Model,
  rendering: chat.Rendering,
  decode: decode_lib.Decode,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  precision: numerics.Precision,
  adapter: str = "",
  conversations: Sequence[conversation.Conversation] | None = None,
  changes: Mapping[str, Any] | None = None,
  as_asked: bool = False,
  names: Sequence[str] = (),
) -> list[str] | tuple[Chat, decode_lib.Decode]:
  """Answers, or without conversations the loaded model and its settings, for a dialogue. changes: of `decode`.

  model: the base; an adapter names its own. rendering: how conversations become tokens. decode: how tokens are drawn.
  mesh: how devices are laid out. precision: which dtype holds what. adapter: what is put on the base, "" for nothing.
  conversations: what is answered. as_asked: uses the rendering given, where the adapter was trained with another.
  names: what messages call each conversation.
  """
  decode = dataclasses.replace(decode, **(changes or {}))
  talker = Chat(model, rendering, mesh, precision, adapter, as_asked)
  if conversations is None:
    return talker, decode
  with console.Bars("answers") as bars:
    count = len(conversations) * decode.n
    return talker.answer(conversations, decode, bars.add("generate", total=count).advance, names=names)


def from_flags(args: command.Args) -> None:
  """Runs the command: prints answers, writes them, or holds a dialogue. Raises InputError for unreadable prompts."""
  if args.output:
    files.require_writable(args.output)
  changes = {name: getattr(args, name) for name in generate_flags.DECODE if getattr(args, name) is not None}
  changes |= {"stop": tuple(args.stop)} if args.stop else {}
  if args.interactive:
    _dialogue(*gin_setup.call(generate, adapter=args.adapter, changes=changes, as_asked=args.as_asked))
    return
  told = {f"--prompt {i}" if i > 1 else "--prompt": _asked(text, args.image) for i, text in enumerate(args.prompt, 1)}
  told |= readers.questions(args.prompts, args.continue_final_message) if args.prompts else {}
  asked, names = list(told.values()), tuple(told)
  given = dict(adapter=args.adapter, conversations=asked, changes=changes, as_asked=args.as_asked, names=names)
  answers = gin_setup.call(generate, **given)
  each = len(answers) // len(asked)  # samples of one prompt stand together
  rows = [{"messages": list(asked[i // each].messages), "output": answer} for i, answer in enumerate(answers)]
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
    shown = _Shown()
    (answer,) = talker.answer([conversation.of(messages)], dataclasses.replace(decode, n=1), on_text=shown)
    messages.append({"role": "assistant", "content": answer})
    print(flush=True)


class _Shown:
  """Prints a text as it grows."""

  def __init__(self):
    self._length = 0

  def __call__(self, piece: watch.Piece) -> None:
    print(piece.text[self._length :], end="", flush=True)
    self._length = len(piece.text)


def _asked(prompt: str, images: list[str]) -> conversation.Conversation:
  """A user's turn, images first."""
  parts = [{"type": "image", "image": os.path.abspath(file)} for file in images]
  return conversation.of([{"role": "user", "content": [*parts, {"type": "text", "text": prompt}] if parts else prompt}])
