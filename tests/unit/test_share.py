"""Links to Binder: its documented forms, what a repository tells, and what would keep others from seeing a notebook."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from unibeam_nb import process
from unibeam_nb.errors import UsageError
from unibeam_nb.lab import Lab
from unibeam_nb.lab.binder import absolute_paths, badge, binder_link, puller_link, repository
from unibeam_nb.lab.share import Shared
from unibeam_nb.notebook.display import to_text
from unibeam_nb.store import Store

AUTHOR = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A",
          "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.mark.parametrize(("address", "provider", "spec", "url"), [
    ("https://github.com/owner/repo", "gh", "owner/repo", "https://github.com/owner/repo"),
    ("https://github.com/owner/repo.git", "gh", "owner/repo", "https://github.com/owner/repo"),
    ("git@github.com:owner/repo.git", "gh", "owner/repo", "https://github.com/owner/repo"),
    ("ssh://git@github.com/owner/repo.git", "gh", "owner/repo", "https://github.com/owner/repo"),
    ("https://github.com/owner/repo/tree/main/docs", "gh", "owner/repo", "https://github.com/owner/repo"),
    ("owner/repo.name", "gh", "owner/repo.name", "https://github.com/owner/repo.name"),
    ("https://gitlab.com/group/sub/project.git", "gl", "group%2Fsub%2Fproject", "https://gitlab.com/group/sub/project"),
    ("https://gitlab.com/group/project/-/tree/main", "gl", "group%2Fproject", "https://gitlab.com/group/project"),
    ("https://gist.github.com/owner/0123abcd", "gist", "owner/0123abcd", "https://gist.github.com/0123abcd.git"),
    ("git@gist.github.com:0123abcd.git", "git", "https%3A%2F%2Fgist.github.com%2F0123abcd.git",
     "https://gist.github.com/0123abcd.git"),
    ("https://git.example.org:8443/a/b.git", "git", "https%3A%2F%2Fgit.example.org%3A8443%2Fa%2Fb.git",
     "https://git.example.org:8443/a/b.git"),
    ("git@codeberg.org:a/b.git", "git", "https%3A%2F%2Fcodeberg.org%2Fa%2Fb.git", "https://codeberg.org/a/b.git")])
def test_an_address_becomes_what_binder_calls_it(address: str, provider: str, spec: str, url: str) -> None:
    found = repository(address)
    assert (found.provider, found.spec, found.url) == (provider, spec, url)


@pytest.mark.parametrize("address", ["https://user:s3cret@github.com/owner/repo", "https://s3cret@gitlab.com/a/b",
                                     "https://x:s3cret@git.example.org/a/b.git", "ssh://s3cret@git.example.org:22/a/b"])
def test_a_password_gets_into_no_link(address: str) -> None:
    where = repository(address)
    assert "s3cret" not in binder_link(where, "main", "a.ipynb") + puller_link(where, "main", where, "main", "a.ipynb")


@pytest.mark.parametrize("address", ["/srv/git/repo.git", "file:///srv/repo", "../repo", "repo", "", "https://",
                                     "C:\\repo", "git@host:"])
def test_an_address_of_this_computer_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        repository(address)
    assert caught.value.message == f"{address!r} is no address that others can reach."
    assert caught.value.hint == "Name one: --repo https://github.com/OWNER/REPO"


def test_links_have_the_forms_that_binder_documents() -> None:
    path = "notebooks/01 quick start.ipynb"
    assert binder_link(repository("owner/repo"), "v1.0", "a.ipynb") == \
        "https://mybinder.org/v2/gh/owner/repo/v1.0?urlpath=lab%2Ftree%2Fa.ipynb"
    gitlab = binder_link(repository("https://gitlab.com/group/sub/project"), "feature/x", path)
    assert gitlab.startswith("https://mybinder.org/v2/gl/group%2Fsub%2Fproject/feature/x?urlpath=")
    (opened,) = parse_qs(urlsplit(gitlab).query)["urlpath"]
    assert unquote(opened) == f"lab/tree/{path}"
    other = binder_link(repository("git@codeberg.org:a/b.git"), "0123abc", path)
    assert other.startswith("https://mybinder.org/v2/git/https%3A%2F%2Fcodeberg.org%2Fa%2Fb.git/0123abc?")


def test_a_link_with_nbgitpuller_fetches_the_content_into_what_the_environment_built() -> None:
    link = puller_link(repository("lab/environment"), "HEAD", repository("https://gitlab.com/a/b"), "main", "n/x.ipynb")
    parts = urlsplit(link)
    assert parts.path == "/v2/gh/lab/environment/HEAD"
    (opened,) = parse_qs(parts.query)["urlpath"]
    inside = urlsplit(opened)
    assert inside.path == "git-pull"
    assert parse_qs(inside.query) == {"repo": ["https://gitlab.com/a/b"], "branch": ["main"],
                                      "urlpath": ["lab/tree/b/n/x.ipynb"]}


def test_the_badge_is_markdown() -> None:
    assert badge("https://mybinder.org/v2/x") == \
        "[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/x)"


def book(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "markdown", "source": ["see /home/me/notes"]},
                                 *({"cell_type": "code", "source": cell.splitlines(True)} for cell in cells)]})


def test_paths_of_one_computer_are_found_and_others_are_not() -> None:
    found = absolute_paths(book("%unibeam build shop --from /home/me/shop\nx = open('~/data.csv')",
                                r"y = open('C:\\data\\x.csv')", "%unibeam boot shop --http /\n"
                                "'https://example.org/home/x', 'opt/x', './tmp/y', '/users', 1/2, '/health/live'",
                                "pd.read_csv(\"/tmp/x.csv\")"))
    assert found == ((2, "/home/me/shop"), (2, "~/data.csv"), (3, r"C:\\data\\x.csv"), (5, "/tmp/x.csv"))
    with pytest.raises(UsageError, match="That is no notebook"):
        absolute_paths("[]")


class Checkout:
    """A repository of git with a notebook in it."""

    def __init__(self, top: Path) -> None:
        self.top, self.notebook = top, top / "notebooks" / "a.ipynb"
        self.notebook.parent.mkdir(parents=True)
        self.notebook.write_text(book("1 + 1"))
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> str:
        return process.run(["git", *words], cwd=self.top, env=AUTHOR).stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "more")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "repo")
    (made.top / "environment.yml").write_text("dependencies: [nbgitpuller]\n")
    made.git("remote", "add", "origin", "git@github.com:owner/repo.git")
    return made


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(Store(tmp_path / "cache", tmp_path / "state"))


def share(lab: Lab, checkout: Checkout) -> Shared:
    return lab.share(checkout.notebook)


def test_what_is_not_said_is_asked_of_git(lab: Lab, checkout: Checkout) -> None:
    commit = checkout.commit()
    checkout.git("update-ref", "refs/remotes/origin/main", "HEAD")
    found = share(lab, checkout)
    assert found.link == f"https://mybinder.org/v2/gh/owner/repo/{commit}?urlpath=lab%2Ftree%2Fnotebooks%2Fa.ipynb"
    assert "branch%3Dmain" in found.puller
    assert found.warnings == ()
    checkout.git("tag", "v1.0")
    assert share(lab, checkout).ref == "v1.0"
    text = to_text(share(lab, checkout))
    assert found.link.replace(commit, "v1.0") in text
    assert "before you share it" not in text


def test_what_others_would_not_see_is_told(lab: Lab, checkout: Checkout) -> None:
    (checkout.top / "environment.yml").unlink()
    (checkout.top / "README.md").write_text("")
    checkout.notebook.rename(checkout.top / "kept")
    commit = checkout.commit()
    (checkout.top / "kept").rename(checkout.notebook)
    checkout.notebook.write_text(book("open('/home/me/x.csv')"))
    assert share(lab, checkout).warnings == (
        "Cell 2 names /home/me/x.csv, which others do not have.",
        "notebooks/a.ipynb is not committed: the link will not find it.",
        f"The commit {commit[:7]} is at no remote, as far as is known here: push it.",
        "The repository does not tell Binder what to install: add an environment.yml or requirements.txt.")
    (checkout.top / "requirements.txt").write_text("pandas\n")
    checkout.commit()
    checkout.notebook.write_text(book("2 + 2"))
    warned = share(lab, checkout).warnings
    assert warned[0] == "notebooks/a.ipynb was changed since it was committed: others see it as it was."
    assert warned[-1] == "The link with nbgitpuller needs it in the environment, which does not name it."


def test_everything_can_be_said_instead(lab: Lab, tmp_path: Path) -> None:
    found = lab.share(repo="owner/repo", ref="main", notebook="n/a.ipynb", environment="lab/env")
    assert found.link == "https://mybinder.org/v2/gh/owner/repo/main?urlpath=lab%2Ftree%2Fn%2Fa.ipynb"
    assert found.puller.startswith("https://mybinder.org/v2/gh/lab/env/HEAD?urlpath=git-pull%3F")
    assert found.warnings == ()
    with pytest.raises(UsageError, match="is not a path inside a repository"):
        lab.share(repo="owner/repo", ref="main", notebook="../a.ipynb")
    with pytest.raises(UsageError, match="Say which notebook to share"):
        lab.share(repo="owner/repo")


def test_mistakes_are_told(lab: Lab, tmp_path: Path) -> None:
    alone = tmp_path / "a.ipynb"
    alone.write_text(book("1"))
    with pytest.raises(UsageError) as caught:
        lab.share(alone)
    assert caught.value.message == "a.ipynb is in no git repository."
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        lab.share(tmp_path / "b.ipynb")
    empty = Checkout(tmp_path / "empty")
    with pytest.raises(UsageError) as caught:
        lab.share(empty.notebook)
    assert caught.value.message == "This repository has no remote: nobody else can reach it."
    empty.git("remote", "add", "origin", "https://github.com/a/b")
    with pytest.raises(UsageError) as caught:
        lab.share(empty.notebook)
    assert caught.value.message == "Nothing is committed in this repository yet."
