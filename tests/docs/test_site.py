"""The site builds with warnings as errors and asks nothing of a network; the README's links lead somewhere."""

import os
import re
import subprocess
import sys

import pytest

from tests.docs import blocks

# What a browser would fetch while it shows a page; links that a reader may follow are not among it.
_FETCHED = re.compile(r"""(?:src|srcset)=["']?(?:https?:)?//|<link[^>]+rel=["']?(?:stylesheet|preconnect)[^>]+//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """The site, with a proxy that leads nowhere in place of the network."""
  pytest.importorskip("mkdocs", reason="mkdocs is not installed: scripts/test.sh installs it")
  folder = tmp_path_factory.mktemp("site")
  nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
  env = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
  command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
  done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=blocks.ROOT, env=env)
  assert done.returncode == 0, done.stdout + done.stderr
  return folder


def test_the_site_has_every_page_and_fetches_nothing(site):
  pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
  docs = blocks.ROOT / "docs"
  assert {str(path.relative_to(docs).with_suffix(".html")) for path in docs.rglob("*.md")} <= pages
  assert {f"reference/{name}.html" for name in ("commands", "values", "recipes", "api")} <= pages
  assert not [path for path in site.rglob("*.html") if _FETCHED.search(path.read_text(encoding="utf-8"))]
  assert not [path for path in site.rglob("*.css") if re.search(r"url\(['\"]?https?:", path.read_text("utf-8"))]


def links(page):
  """Where a page leads: the targets of its links and pictures outside of code."""
  text = re.sub(r"^```.*?^```$|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
  return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: str(page.relative_to(blocks.ROOT)))
def test_links_between_files_lead_somewhere(page):
  """mkdocs follows those inside docs; the README's, and those out of docs, are followed here."""
  for link in links(page):
    if link.startswith(("http:", "https:", "#")) or "reference/" in link:
      continue  # the reference is made while the site is built, which checks these
    target = (page.parent / link.partition("#")[0]).resolve()
    assert target.exists(), f"{page.name}: {link}"
    if anchor := link.partition("#")[2]:
      heads = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
      assert anchor in {re.sub(r"[^\w]+", "-", head.lower()).strip("-") for head in heads}, f"{page.name}: {link}"


def test_the_readme_is_short_and_its_picture_small():
  readme = blocks.ROOT / "README.md"
  assert len(readme.read_text(encoding="utf-8").splitlines()) <= 120
  pictures = [link for link in links(readme) if link.endswith(".png")]
  assert pictures and all((blocks.ROOT / picture).stat().st_size < 150_000 for picture in pictures)
