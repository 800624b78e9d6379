"""The Python in the documentation runs as it stands, and its links lead somewhere."""

import pathlib
import re

import keras
import pytest
import tensorflow as tf

import export
import serving
import zoo

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
    page.relative_to(ROOT)
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "benchmarks" / "README.md",
    )
]


def python_of(page):
    """Returns the blocks of Python of a page."""
    text = (ROOT / page).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/models.md",
        "docs/training.md",
        "docs/from-the-tutorials.md",
    ],
)
@pytest.mark.filterwarnings("ignore:Limiting ", "ignore:Even though the .*eagerly")
def test_snippets_run(page, tmp_path, monkeypatch):
    blocks = python_of(page)
    assert blocks
    monkeypatch.chdir(tmp_path)
    # A few steps show that it runs; the pictures are the reader's.
    keras.config.set_max_epochs(1)
    keras.config.set_max_steps_per_epoch(2)
    # It trains one model after the other, none with code of its own to trace.
    tf.config.run_functions_eagerly(page == "docs/models.md")
    try:
        names = {}
        for block in blocks:
            exec(compile(block, page, "exec"), names)
    finally:
        tf.config.run_functions_eagerly(False)
        keras.config.set_max_epochs(None)
        keras.config.set_max_steps_per_epoch(None)


def test_snippets_of_serving_run_beside_the_model_that_they_ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Any model does that draws pictures of this shape by labels.
    narrow = {"generator_units": (8, 8), "discriminator_units": (8, 8)}
    model = zoo.CGAN((28, 28, 1), num_classes=10, **narrow)
    export.to_saved_model(model, "models/cgan_mnist", batch_sizes=(1,))
    names = {}
    with serving.Server("models/", port=0) as server:
        for block in python_of("docs/serving.md"):
            # The port that the page's commands take may not be free here.
            block = block.replace("127.0.0.1:8500", server.address)
            exec(compile(block, "docs/serving.md", "exec"), names)
    assert names["images"].shape == (64, 28, 28, 1)
    assert names["sevens"].shape == (8, 28, 28, 1)
    assert names["outputs"]["logits"].shape == (2,)
    assert names["digits"].shape == (3, 28, 28, 1)


def anchors_of(page):
    """Returns the anchors that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    anchors = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        shown = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)  # A link shows its words.
        slug = re.sub(r"[^\w -]", "", shown.lower()).replace(" ", "-")
        # The second of a name has a 1 behind it.
        numbered = (f"{slug}-{k}" if k else slug for k in range(len(anchors) + 1))
        anchors.add(next(anchor for anchor in numbered if anchor not in anchors))
    return anchors


def test_anchors_are_those_of_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# What `code` comes to: 7×7, don't\n```\n# no heading\n```\n"
        "## A [link](x.md)\n## A link\n### snake_case - and more\n"
    )
    assert anchors_of(page) == {
        "what-code-comes-to-77-dont",
        "a-link",
        "a-link-1",
        "snake_case---and-more",
    }


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = ROOT / page.parent / file if file else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link
