"""The documents: their links, anchors and paths exist, and they stay readable."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted(path for path in (ROOT / "docs/decisions").glob("*.md") if path.name != "README.md")
MAX_README_LINES = 150
MAX_LINE_LENGTH = 400  # characters, outside tables
SOURCES = ("*.py", "*.yaml", "*.toml", "*.json", "*.in", "Makefile", "Dockerfile")
CODE = (
    *("benchmarks", "cloud", "dataset", "functions", "layers", "local"),
    *("networks", "proofs", "serving", "sketchbook", "statemachine", "traffic", "training"),
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@cache
def prose(page: Path) -> str:
    """Return the page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headlines."""
    headlines = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {anchor(headline) for headline in headlines}


def anchor(headline: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", headline)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def problem_of(page: Path, target: str) -> str | None:
    """Return what is wrong with a relative link, or None."""
    path, _, fragment = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return f"{target}: no such file"
    if fragment and fragment not in anchors(file):
        return f"{target}: no such headline"
    return None


@every_page
def test_links_and_anchors_resolve(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [problem for target in local if (problem := problem_of(page, target))] == []


@every_page
def test_headlines_are_distinct(page):
    """GitHub numbers the anchors of equal headlines, and links to them break when one is added."""
    headlines = [anchor(headline) for headline in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)]
    if page.name != "CHANGELOG.md":
        assert sorted(headlines) == sorted(set(headlines))


@every_page
def test_lines_can_be_read(page):
    lines = page.read_text().splitlines()
    too_long = [line[:60] for line in lines if len(line) > MAX_LINE_LENGTH and not line.startswith("|")]
    assert too_long == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_paths_in_the_architecture_exist():
    tokens = re.findall(r"`([^`\s]+)`", prose(ROOT / "docs/architecture.md"))
    paths = [token for token in tokens if re.search(r"/|\.(md|py|toml|yaml)$", token) and "<" not in token]
    assert len(paths) > 40
    # Folders within a row are named from the folder that the row is about.
    parents = [ROOT, ROOT / "functions", ROOT / "proofs", ROOT / "tests"]
    assert [path for path in paths if not any((parent / path).exists() for parent in parents)] == []


def sources(*folders: str) -> list[Path]:
    """Return the files of code and configuration in some folders and at the top."""
    top = [ROOT / name for name in ("template.yaml", "Makefile", "pyproject.toml", ".checkov.yaml")]
    return [path for folder in folders for kind in SOURCES for path in (ROOT / folder).rglob(kind)] + top


def test_code_names_documents_that_exist():
    files = sources(*CODE, "tests")
    named = [(path, name) for path in files for name in re.findall(r"\bdocs/[\w/-]+\.md(?:#[\w-]+)?", path.read_text())]
    assert len(named) > 3
    wrong = [
        f"{path.relative_to(ROOT)}: {problem}" for path, name in named if (problem := problem_of(ROOT / "x", name))
    ]
    assert wrong == []


def begins_with(headline: str, words: str) -> bool:
    """Return whether a headline begins with these whole words. Quotation marks do not count."""
    headline, words = headline.replace('"', ""), words.replace('"', "")
    return re.match(rf"{re.escape(words)}(?!\w)", headline) is not None


def test_code_quotes_one_headline_of_each_decision_that_it_names():
    """Code writes: See "first words of the headline" in docs/decisions/… The words fit one entry only."""
    wrong, num_quoted = [], 0
    for path in sources(*CODE):
        text = path.read_text()
        quoted = re.findall(r'\b[Ss]ee "(.+?)" in docs/decisions/([\w-]+)\.md', text)
        if len(quoted) != len(re.findall(r"docs/decisions/[\w-]+\.md", text)):
            wrong.append(f"{path.relative_to(ROOT)}: a decision is named without the first words of its headline")
        for words, name in quoted:
            headlines = re.findall(r"^### (.+)$", prose(ROOT / f"docs/decisions/{name}.md"), re.MULTILINE)
            matches = [headline for headline in headlines if begins_with(headline, words)]
            if len(matches) != 1:
                wrong.append(f'{path.relative_to(ROOT)}: {len(matches)} headlines of {name}.md begin with "{words}"')
        num_quoted += len(quoted)
    assert wrong == []
    assert num_quoted > 40


def test_every_decision_is_in_the_index():
    """The index lists every headline in the order of its file; the headline holds the verdict."""
    index = (ROOT / "docs/decisions/README.md").read_text()
    listed = re.findall(r"^- \[(.+)\]\(([\w-]+\.md)#([^)]+)\)$", index, re.MULTILINE)
    for path in DECISIONS:
        headlines = re.findall(r"^### (.+)$", prose(path), re.MULTILINE)
        assert [title for title, name, _ in listed if name == path.name] == headlines, path.name
        dated = re.findall(r"^### .+\n20\d\d-\d\d-\d\d\. ?", path.read_text(), re.MULTILINE)
        assert len(dated) == len(headlines), f"{path.name}: an entry begins with its date"
    assert {name for _, name, _ in listed} == {path.name for path in DECISIONS}


def test_pages_push_images_with_dockers_own_manifests():
    """``docker push`` sends OCI manifests from containerd's store, and SageMaker refuses them."""
    blocks = [block for page in PAGES for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.M | re.S)]
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    commands = [line for line in lines if line.startswith("docker ")]
    builds = [command for command in commands if " build " in command]
    assert builds
    for command in builds:
        assert {"--provenance=false", "--sbom=false", "linux/amd64"} <= set(command.split()), command
        assert re.search(r"--output type=image,\S*oci-mediatypes=false,push=true", command), command
    assert [command for command in commands if command.startswith("docker push")] == []


def test_the_rights_of_own_roles_are_statements_of_the_template(template):
    """Who brings roles looks these statements up in the template."""
    section = (ROOT / "docs/upgrading.md").read_text().partition("## Rights of your own roles\n")[2]
    section = section.partition("\n## ")[0]
    granted = statements_of(template)
    for role in re.findall(r"all of `(\w+)`", section):
        assert granted[role], role
    named = re.findall(r"\bof `(\w+)`: ((?:`\w+`(?:, )?)+)", section)
    assert len(named) > 10
    for role, statements in named:
        assert set(re.findall(r"`(\w+)`", statements)) <= granted[role], role


def statements_of(template) -> dict[str, set[str]]:
    """Return the names of the statements of each role and managed policy."""
    named = dict[str, set[str]]()
    for name, resource in template["Resources"].items():
        if resource["Type"] in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy"):
            properties = resource["Properties"]
            documents = [each["PolicyDocument"] for each in properties.get("Policies", [properties])]
            found = (each.get("Fn::If", ["", each])[1] for one in documents for each in one["Statement"])
            named[name] = {each["Sid"] for each in found}
    return named
