"""Tokenizer and renderer of a model that is not loaded: what preparing and looking at data needs, without JAX."""

import os
from typing import Any

from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import opening
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.run import specs
from itune_jax.run import user_code

session = lazy.module("itune_jax.run.session")  # it loads the families of models, and JAX with them


def open_tokenizer(model: specs.Model) -> Any:
  """The tokenizer of a model, and its template. Raises InputError when the model cannot be had."""
  return tokenizer_lib.load(specs.resolve(model.base), model.chat_template or None, model.special_tokens)


def open_renderer(model: specs.Model, rendering: chat.Rendering) -> chat.Renderer:
  """Renders conversations for a model that is not loaded. Raises InputError when the model cannot be had."""
  path = specs.resolve(model.base)
  images, one_answer = None, False
  if model.config is not None:
    one_answer = session.one_answer(model.config)
  elif _is_special(path):
    images, one_answer = session.images_of(path), session.one_answer_of(path)
  return chat.Renderer(open_tokenizer(model), rendering, images, one_answer=one_answer)


def opened(mixture: mixture_lib.Mixture) -> mixture_lib.Mixture:
  """The mixture with the rows that `itune prepare` read of tasks and data sets. Raises InputError where it did not."""
  return opening.known(mixture, specs.cache_dir(), user_code.files())


def _is_special(path: str) -> bool:
  """Whether a model's folder says that it has a part for images, or an encoder: the families then say what follows."""
  config = os.path.join(path, "config.json")
  if not os.path.isfile(config):
    return False
  found = files.read_json(config)
  is_encoder = isinstance(found, dict) and (found.get("is_encoder_decoder") or "t5" in str(found.get("model_type")))
  return bool(is_encoder) or "vision_config" in found
