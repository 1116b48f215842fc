"""Tokens coloured by loss weight, in the terminal and as a page."""

from collections.abc import Iterator, Sequence
import html
import itertools

Titled = Sequence[tuple[str, Sequence[tuple[str, float]]]]  # titles, each with the texts and weights of its tokens

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}}
pre{{white-space:pre-wrap;background:#f6f6f6;padding:1rem;border-radius:6px}}
.t{{background:#bfe8c5;border-radius:2px}} .h{{background:#8fd19a}} .m{{color:#888}}</style>
<h1>{title}</h1><p>Green tokens are trained (darker: weight above 1); grey ones are only read.</p>{body}</html>"""


def page(title: str, shown: Titled) -> str:
  """One static HTML page."""
  kind = lambda weight: "m" if not weight else "t h" if weight > 1 else "t"
  mark = lambda text, weight: f'<span class="{kind(weight)}" title="weight {weight:g}">{html.escape(text)}</span>'
  body = "".join(
    f"<h2>{html.escape(where)}</h2><pre>{''.join(mark(t, w) for t, w in tokens)}</pre>" for where, tokens in shown
  )
  return _PAGE.format(title=html.escape(title), body=body)


def coloured(shown: Titled) -> str:
  """Text with the terminal's colours."""
  return "".join(
    f"\n\033[1m{title}\033[0m\n{''.join(_colour(text, weight) for text, weight in tokens)}\n" for title, tokens in shown
  )


def plain(shown: Titled) -> str:
  """Text without colours, for a pipe or a file: stretches of trained tokens stand between ⟦ and ⟧."""
  return "".join(f"\n{title}\n{''.join(_stretches(tokens))}\n" for title, tokens in shown)


def _stretches(tokens: Sequence[tuple[str, float]]) -> Iterator[str]:
  for trained, stretch in itertools.groupby(tokens, lambda token: bool(token[1])):
    text = "".join(text for text, _ in stretch)
    yield f"⟦{text}⟧" if trained else text


def _colour(text: str, weight: float) -> str:
  return f"\033[2m{text}\033[0m" if not weight else f"\033[30;42m{text}\033[0m"
