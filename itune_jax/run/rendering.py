"""Tokenizer and renderer of a model that is not loaded: what preparing and looking at data needs, without JAX."""

import os
from typing import Any

from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.run import specs

session = lazy.module("itune_jax.run.session")  # it loads the families of models, and JAX with them


def open_tokenizer(model: specs.Model) -> Any:
  """The tokenizer of a model, and its template. Raises InputError when the model cannot be had."""
  return tokenizer_lib.load(specs.resolve(model.base), model.chat_template or None, model.special_tokens)


def open_renderer(model: specs.Model, rendering: chat.Rendering) -> chat.Renderer:
  """Renders conversations for a model that is not loaded. Raises InputError when the model cannot be had."""
  path = specs.resolve(model.base)
  images = None
  if model.config is None and _sees(path):
    images = session.images_of(path)
  return chat.Renderer(open_tokenizer(model), rendering, images)


def _sees(path: str) -> bool:
  """Whether a model's folder says that it has a part for images."""
  config = os.path.join(path, "config.json")
  return os.path.isfile(config) and "vision_config" in files.read_json(config)
