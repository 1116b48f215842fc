"""Tokenizers: from a Hugging Face folder, or rebuilt from the vocabulary inside a GGUF file."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from typing import Any

import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers

from itune_jax.core import errors
from itune_jax.core import gguf_fields
from itune_jax.core import jsontext

_TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")
TEMPLATES = tuple(sorted(file.removesuffix(".jinja") for file in os.listdir(_TEMPLATES)))
_RESERVED = re.compile(
  r"<\|reserved_special_token_\d+\|>|<\|?reserved_(token_)?\d+\|?>|<unused_?\d+>|\[unused_?\d+\]|<\|dummy_\d+\|>"
  r"|\[control_\d+\]|<SPECIAL_\d+>|<\|placeholder\d+\|>"
)
_CONTROL, _USER_DEFINED = 3, 4  # token types of the GGUF specification


def load(path: str, chat_template: str | None = None, special_tokens: Sequence[str] = ()) -> Any:
  """The fast tokenizer of a .gguf file or a Hugging Face folder.

  Args:
    chat_template: a name of TEMPLATES, a file or Jinja text, that replaces the model's own. special_tokens: take
      the places of reserved tokens (`<|reserved_special_token_0|>`, `<unused0>`) first, then stand behind the
      vocabulary, which are the free rows of a table that is longer.

  Raises:
    InputError for a GGUF vocabulary of another kind, or a folder without a fast tokenizer.
  """
  tokenizer = from_gguf(path) if path.endswith(".gguf") else _from_folder(path)
  if chat_template:
    tokenizer.chat_template = named(chat_template)
  _check_template(path, tokenizer.chat_template)
  # Rows are cut by their rendering: what the library has to say of a longest text is none of a user's business.
  tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
  if any(not isinstance(t, str) or not t.strip() for t in special_tokens):
    raise errors.InputError(f"special_tokens = {tuple(special_tokens)!r}: each is a text that is not empty")
  if special_tokens:
    _take_reserved(tokenizer, special_tokens)
    added: Any = [tokenizers.AddedToken(t, special=True, normalized=False) for t in special_tokens]
    tokenizer.add_tokens(added)
  return tokenizer


def _take_reserved(tokenizer, wanted: Sequence[str]) -> None:
  """Renames reserved tokens, in the order of their ids, to those that are wanted and not there."""
  vocabulary = tokenizer.get_vocab()
  free = sorted((i, token) for token, i in vocabulary.items() if _RESERVED.fullmatch(token))
  new = [token for token in wanted if token not in vocabulary]
  names = {old: token for (_, old), token in zip(free, new, strict=False)}
  if not names:
    return
  state = json.loads(tokenizer.backend_tokenizer.to_str())
  for added in state["added_tokens"]:
    added["content"] = names.get(added["content"], added["content"])
  vocab = state["model"]["vocab"]
  if isinstance(vocab, dict):
    state["model"]["vocab"] = {names.get(token, token): i for token, i in vocab.items()}
  else:  # a unigram model: [token, score] by id
    state["model"]["vocab"] = [[names.get(token, token), score] for token, score in vocab]
  tokenizer._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))


def named(given: str) -> str:
  """A chat template by a name of TEMPLATES, by its file, or itself. Raises InputError where it is none of these."""
  file = os.path.join(_TEMPLATES, f"{given}.jinja") if given in TEMPLATES else given
  if os.path.exists(file):
    try:
      with open(file, encoding="utf-8-sig") as f:
        return f.read().rstrip("\n")
    except (OSError, UnicodeDecodeError) as e:
      raise errors.InputError(f"{file}: cannot be read as a chat template ({e})") from None
  if "{" not in given:
    raise errors.InputError(
      f"chat template {given!r} is no file, no Jinja text, and no known name ({', '.join(TEMPLATES)})"
    )
  return given


def _check_template(path: str, given: Any) -> None:
  """Raises InputError for a chat template that is neither text nor texts by name."""
  texts = given.values() if isinstance(given, dict) else [given or ""]
  if not all(isinstance(one, str) for one in texts):
    raise errors.InputError(f"{path}: its chat_template is neither Jinja text nor a list of named ones")


def from_gguf(path: str) -> transformers.PreTrainedTokenizerFast:
  """Byte-level BPE from a GGUF file: single digits, then the GPT-2 pattern (pre-tokenizer kind `smollm`).

  Raises InputError for a file that is damaged, or of another kind.
  """
  contents = gguf_fields.read(path)
  try:
    return _byte_level(path, contents)
  except (TypeError, KeyError, IndexError, ValueError) as e:
    if isinstance(e, errors.InputError):
      raise
    raise errors.InputError(f"{path}: its tokenizer is damaged ({jsontext.said(e)}); fetch it again") from None


def _byte_level(path: str, contents: dict[str, Any]) -> transformers.PreTrainedTokenizerFast:
  get: Any = contents.get
  model, pre = get("tokenizer.ggml.model"), get("tokenizer.ggml.pre")
  if (model, pre) != ("gpt2", "smollm"):
    raise errors.InputError(f"{path}: its tokenizer is ({model!r}, {pre!r}); supported is ('gpt2', 'smollm')")
  tokens, types = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type")
  merges = [tuple(merge.split(" ", 1)) for merge in get("tokenizer.ggml.merges")]
  bpe = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, fuse_unk=False))
  bpe.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
  )
  bpe.decoder = decoders.ByteLevel()
  bpe.add_special_tokens(
    [
      tokenizers.AddedToken(t, special=True, normalized=False)
      for t, kind in zip(tokens, types, strict=True)
      if kind == _CONTROL
    ]
  )
  bpe.add_tokens(
    [tokenizers.AddedToken(t, normalized=False) for t, kind in zip(tokens, types, strict=True) if kind == _USER_DEFINED]
  )
  name = lambda key: tokens[i] if (i := get(f"tokenizer.ggml.{key}_token_id")) is not None else None
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=bpe,
    bos_token=name("bos"),
    eos_token=name("eos"),
    unk_token=name("unknown"),
    pad_token=name("padding"),
    chat_template=get("tokenizer.chat_template"),
    clean_up_tokenization_spaces=False,
    model_max_length=get("llama.context_length", 2**31),
  )


def _from_folder(path: str):
  try:
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    tokenizer("Hi.", add_special_tokens=False)  # some faults of its settings show in use only
  except Exception as e:  # the library raises its own for a damaged tokenizer.json, and many others
    _require_config(path)
    raise errors.InputError(f"{path}: no tokenizer there, or a damaged one ({jsontext.said(e)})") from None
  if not tokenizer.is_fast:
    raise errors.InputError(
      f"{path}: only fast tokenizers (tokenizer.json) are supported: spans need character offsets"
    )
  return tokenizer


def _require_config(path: str) -> None:
  """Raises InputError where it is config.json that the library refuses, which it reads on its way to the tokenizer."""
  config = os.path.join(path, "config.json")
  if not os.path.isfile(config):
    return
  try:
    transformers.AutoConfig.from_pretrained(path, local_files_only=True)
  except Exception as e:
    raise errors.InputError(f"{config}: transformers refuses it ({jsontext.said(e)})") from None


def digest(tokenizer) -> str:
  """SHA-256 of what turns text into ids: vocabulary, merges, pre-tokenizer, special tokens."""
  state = json.loads(tokenizer.backend_tokenizer.to_str())
  state = {key: value for key, value in state.items() if key not in ("truncation", "padding")}
  return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def template_digest(tokenizer) -> str:
  """SHA-256 of its chat template."""
  return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def end_ids(tokenizer) -> tuple[int, ...]:
  """Ids that end a turn by the tokenizer's word: eos, and the usual turn ends where the vocabulary has them."""
  names = [tokenizer.eos_token, "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>"]
  vocabulary = tokenizer.get_added_vocab()
  found = [tokenizer.eos_token_id] + [vocabulary[n] for n in names if n in vocabulary]
  return tuple(dict.fromkeys(i for i in found if i is not None))


def start_id(tokenizer) -> int:
  """The token that stands in front of a text: bos, or eos where there is none."""
  return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
