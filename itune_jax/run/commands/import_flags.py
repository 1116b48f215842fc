"""The flags of `itune import`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  source = "a known name, .gguf file, Hugging Face folder or hub id, or a PEFT folder"
  parser.add_argument("--source", required=True, help=source)
  command.dtype_flag(parser, of="written weights")
  command.base_flags(parser, "of a PEFT folder: its base, where it is not where the folder says")
  command.out_flag(parser)


COMMAND = command.Command(
  name="import",
  help="bring a base model or a PEFT adapter into a folder of its own, with a manifest",
  work="itune_jax.run.commands.import_:from_flags",
  flags=flags,
  gin="export",
  recipe=False,
  own_base=True,
  starts="jax",
)
