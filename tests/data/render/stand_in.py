"""A tokenizer that is another one with a template of its own: copying one takes a second."""


class With:
  """All of a tokenizer but its template."""

  def __init__(self, tokenizer, template):
    self._tokenizer, self.chat_template = tokenizer, template

  def __getattr__(self, name):
    return getattr(self._tokenizer, name)

  def __call__(self, *args, **kwargs):
    return self._tokenizer(*args, **kwargs)
