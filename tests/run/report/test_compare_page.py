"""The page of a comparison: what it holds, what it must not do, and how it works in a real browser."""

import base64
import dataclasses
import hashlib
import html
import html.parser
import json
import re
import subprocess

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.evals.robust import variation
from itune_jax.run.commands import compare as command
from itune_jax.run.comparison import comparing
from itune_jax.run.comparison import outcomes
from itune_jax.run.report import compare_page
from tests.run.comparison import made
from tests.run.report import test_page

# What a reader would do, and what is seen then; written where --dump-dom shows it.
PROBE = """
const seen = {wide: document.documentElement.scrollWidth, window: innerWidth, all: at("list").childElementCount};
const cards = () => shown.map((one) => one.item.id);
const set = (id, value, event) => { at(id).value = value; at(id).dispatchEvent(new Event(event)); };
seen.first = cards();
set("change", "wrong", "change"); seen.wrong = cards();
set("change", "right", "change"); seen.right = cards();
set("change", "all", "change"); set("search", "judge of 3:", "input"); seen.search = cards();
seen.card = at("list").firstChild.textContent;
set("search", "", "input");
for (let k = 0; k < 9; k++) at("more").click();
seen.most = at("list").childElementCount;
seen.images = document.images.length;
seen.bold = document.querySelectorAll("pre b").length;
const veiled = document.querySelectorAll("article.veiled");
const blur = () => getComputedStyle(veiled[0].querySelector("pre")).filter;
seen.veiled = [veiled.length, blur()];
veiled[0].querySelector("button.show").click();
seen.veiled.push(document.querySelectorAll("article.veiled").length, blur());
parent.document.body.dataset.seen = JSON.stringify(seen);
"""


class Elements(html.parser.HTMLParser):
  """The elements of a page, and the text of its scripts."""

  def __init__(self, page):
    super().__init__()
    self.tags, self.scripts, self.attributes, self.inside = [], [], [], False
    self.feed(page)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs
    self.inside = tag == "script"
    if self.inside:
      self.scripts.append("")

  def handle_data(self, data):
    if self.inside:
      self.scripts[-1] += data

  def handle_endtag(self, tag):
    self.inside = False


def page(folder, most=2000):
  first, second = made.rows(1), made.rows(2, share=0.7)
  second[1]["output"] = "x" * 3000 + " \u2028"
  second[0]["harmful"] = True
  made.folder(folder / "base", first, of=541)
  made.folder(folder / "tuned", [*second, {**second[0], "id": "new"}], of=541)
  runs = command.runs_of([str(folder / "base"), str(folder / "tuned")])
  found = comparing.compare(runs, [], outcomes.Asked(metrics=("exact",)))
  return compare_page.page(found, most)


LINE = variation.Line(
  benchmark="gsm8k",
  metric="exact",
  kind="format",
  base=0.5,
  mean=0.4,
  worst=0.21,
  best=0.5,
  spread=0.29,
  at_worst="<i>loud</i>",
  loss=0.29,
  loss_low=0.1,
  loss_high=0.4,
  p=0.03,
  n=40,
  variants=4,
  changed=1.0,
  figures={"<i>loud</i>": 0.21},
)


def _robust(folder, **changed):
  (folder / "robust").mkdir(exist_ok=True)
  lines = [{**dataclasses.asdict(LINE), **changed}, {**dataclasses.asdict(LINE), "metric": "f1", "spread": 0.0}]
  (folder / "robust" / "robust.json").write_text(json.dumps({"lines": lines}))


def test_benchmarks_stand_by_axis_and_the_worst_ways_of_asking_are_shown(tmp_path):
  for k, run in enumerate(("base", "tuned")):
    for name in ("gsm8k", "xstest", "mine"):
      made.folder(tmp_path / run, made.rows(k), name=name)
  _robust(tmp_path / "tuned")
  read = lambda: command.runs_of([str(tmp_path / "base"), str(tmp_path / "tuned")])
  found = comparing.compare(read(), [], outcomes.Asked(metrics=("exact",)))
  text = compare_page.page(found, 10)
  heads = re.findall(r'scope="rowgroup">(\w+)<', text)
  assert sorted(heads) == ["others", "safety", "utility"]
  table = text.partition('id="varied"')[2].partition("</table>")[0]
  cells = [html.unescape(one) for one in re.findall(r'data-head="[^"]+">([^<]*)<', table)]
  assert cells == ["", "tuned", "exact", "format (4)", "0.5", "0.4", "0.21", "0.5", "0.29", "0.030", "<i>loud</i>"]
  for changed, says in (({"worst": "bad"}, "worst of a line is"), ({"more": 1}, "which is none of --robust")):
    _robust(tmp_path / "tuned", **changed)
    with pytest.raises(errors.InputError, match=f"robust.json: .*{says}"):
      read()


@pytest.fixture(scope="module")
def made_page(tmp_path_factory):
  return page(tmp_path_factory.mktemp("compare"))


def test_what_models_say_is_text(made_page):
  """An answer that would end the script, and begin another, is data. Nothing is fetched; no other script may run."""
  assert "alert(1)" in made_page and made.EVIL not in made_page
  found = Elements(made_page)
  assert found.tags.count("script") == 2 and "img" not in found.tags and "link" not in found.tags
  assert not [value for name, value in found.attributes if name in ("src", "href") or name.startswith("on")]
  stored, script = found.scripts
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  policy = dict(found.attributes)["content"]
  assert f"script-src 'sha256-{digest}'" in made_page and "default-src 'none'" in made_page, policy
  items = {item["id"]: item for item in json.loads(stored)["benchmarks"][0]["items"]}
  assert items["q3"]["runs"][0]["answer"].endswith(made.EVIL) and len(items) == 41
  assert items["q4"]["prompt"][0] == ["system", "Be terse."] and len(items["q4"]["prompt"]) == 3
  assert items["new"]["runs"][0] is None
  assert [id for id, item in items.items() if item.get("harmful")] == ["q0", "new"], "one run's mark is enough"


def test_of_many_items_those_that_changed_come_first(tmp_path):
  stored = json.loads(Elements(page(tmp_path, most=15)).scripts[0])["benchmarks"][0]
  assert stored["total"] == 41 and len(stored["items"]) == 15 and stored["changed"] > 15
  differ = lambda item: None in item["runs"] or item["runs"][0]["scores"] != item["runs"][1]["scores"]
  assert all(map(differ, stored["items"]))


def test_names_and_tags_are_escaped(tmp_path):
  rows = [{**row, "tags": {"<i>tag</i>": "<u>"}, "output": "half a pair: \ud83d"} for row in made.rows(1)]
  made.folder(tmp_path / "<s>a", rows, name="<q>")
  made.folder(tmp_path / "b", rows, name="<q>", judge="<marquee>")
  runs = command.runs_of([str(tmp_path / "<s>a"), str(tmp_path / "b")])
  text = compare_page.page(comparing.compare(runs, [], outcomes.Asked()), 10)
  found = Elements(text.encode("utf-8").decode())
  assert not {"i", "s", "u", "q", "marquee"} & set(found.tags) and found.tags.count("svg") == 1


@pytest.mark.skipif(test_page.CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.by_default("400")
@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_in_a_browser(made_page, tmp_path, width):
  head, policy, rest = made_page.partition('<meta http-equiv="Content-Security-Policy"')
  probed = head + rest.partition(">")[2].replace("</body>", f"<script>{PROBE}</script></body>")
  frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{html.escape(probed)}"></iframe>'
  # A window is never narrower than 500 pixels, a frame in it is.
  (tmp_path / "page.html").write_text(f"<!doctype html><body>{frame}</body>", encoding="utf-8")
  browser = [test_page.CHROMIUM, *test_page.FLAGS, f"--user-data-dir={tmp_path}/p", f"--window-size={width},1000"]
  dump = [*browser, "--dump-dom", f"file://{tmp_path}/page.html"]
  dom = subprocess.run(dump, capture_output=True, text=True, timeout=120, check=True).stdout
  attributes = dict(Elements(dom).attributes)
  seen = json.loads(attributes["data-seen"])
  assert policy and seen["window"] == width and seen["wide"] <= width, "it does not scroll sideways"
  values = [[row["values"]["exact"] for row in run] for run in (made.rows(1), made.rows(2, share=0.7))]
  changes = np.subtract(values[1], values[0])
  assert seen["wrong"] == [f"q{i}" for i in np.flatnonzero(changes < 0)]
  assert seen["right"] == [f"q{i}" for i in np.flatnonzero(changes > 0)]
  assert seen["search"] == ["q3"] and "Judge of 3" in seen["card"] and made.EVIL in seen["card"]
  assert len(seen["first"]) == seen["most"] == 41 and seen["all"] == 20 and seen["images"] == seen["bold"] == 0
  assert seen["veiled"] == [2, "blur(9px)", 1, "none"], "harm is blurred until a click shows it"
  shot = tmp_path / "shot.png"
  (tmp_path / "page.html").write_text(made_page, encoding="utf-8")
  subprocess.run(
    [*browser, "--hide-scrollbars", f"--screenshot={shot}", f"file://{tmp_path}/page.html"],
    capture_output=True,
    timeout=120,
    check=True,
  )
  pixels = test_page._png(shot)
  assert pixels.shape[:2] == (1000, width) and 0.002 < (pixels[..., :3].mean(-1) < 110).mean() < 0.4
