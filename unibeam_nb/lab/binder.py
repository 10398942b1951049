"""Links that open a notebook on Binder: pure functions of a repository's address, a ref and a path.

The forms are BinderHub's own (its documentation, "Repository providers"): ``gh/OWNER/REPO/REF``, ``gl/NAMESPACE/REF``
and ``git/URL/REF`` with everything in namespace and URL escaped, ``gist/USER/ID/REF``. What to open is ``urlpath``.
With nbgitpuller (its link generator) that is ``git-pull?repo=...&urlpath=...&branch=...``, escaped once more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from unibeam_nb.errors import UsageError
from unibeam_nb.jsonable import loads

HUB = "https://mybinder.org"

ABSOLUTE = re.compile(r"(?<![\w.:/~-])(?:~|/(?:home|root|Users|tmp|mnt|media|work|srv|opt|data|var)|[A-Za-z]:[\\/])"
                      r"[\\/][\w.@+-][^\s\"'`)\],;]*|(?<![\w.])[A-Za-z]:\\{1,2}[\w.][^\s\"'`)\],;]*")
"""A path that means something on one computer only."""


@dataclass(frozen=True)
class Repository:
    """A repository that others can reach. ``provider`` is Binder's word for where it is (``gh``, ``gl``, ``gist``,
    ``git``), ``spec`` what Binder calls it there, ``url`` what git clones, ``name`` the directory that gives."""

    provider: str
    spec: str
    url: str
    name: str


def repository(address: str) -> Repository:
    """Read what git calls a remote, a web address, or ``OWNER/REPO`` at GitHub. A user name or password in it is
    dropped, so that it gets into no link. Raises UsageError for what nobody else can reach."""
    host, path = _parts(address.strip())
    words = path.removesuffix(".git").strip("/").split("/")
    if host == "github.com" and len(words) >= 2:
        return Repository("gh", f"{quote(words[0])}/{quote(words[1])}", f"https://github.com/{words[0]}/{words[1]}",
                          words[1])
    if host == "gitlab.com" and len(words) >= 2:
        # What follows /-/ on a page of GitLab is not the project's name.
        namespace = "/".join(words).partition("/-/")[0]
        return Repository("gl", quote(namespace, safe=""), f"https://gitlab.com/{namespace}", namespace.split("/")[-1])
    if host == "gist.github.com" and len(words) == 2:
        return Repository("gist", f"{quote(words[0])}/{quote(words[1])}", f"https://gist.github.com/{words[1]}.git",
                          words[1])
    url = f"https://{host}/{path.strip('/')}"
    return Repository("git", quote(url, safe=""), url, words[-1])


def _parts(address: str) -> tuple[str, str]:
    """Host and path of an address."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", address) and not address.startswith("."):
        return "github.com", address
    if "://" in address:
        parsed = urlsplit(address)
        host, path = parsed.hostname or "", parsed.path
        if parsed.port and parsed.scheme in ("http", "https"):
            host = f"{host}:{parsed.port}"
        if parsed.scheme not in ("http", "https", "ssh", "git") or not host:
            host = ""
    else:
        found = re.fullmatch(r"(?:[\w.-]+@)?([\w-]+(?:\.[\w-]+)+):(?!/)(.+)", address)
        host, path = (found[1], found[2]) if found else ("", "")
    if not host or not path.strip("/"):
        raise UsageError(f"{address!r} is no address that others can reach.",
                         "Name one: --repo https://github.com/OWNER/REPO")
    return host.casefold(), path


def binder_link(where: Repository, ref: str, notebook: str) -> str:
    """A link that opens a notebook (its path in the repository, ``/`` between) in JupyterLab on Binder."""
    return f"{_base(where, ref)}?urlpath={quote(f'lab/tree/{quote(notebook)}', safe='')}"


def puller_link(environment: Repository, environment_ref: str, content: Repository, branch: str, notebook: str) -> str:
    """A link that starts what ``environment`` builds, which must have nbgitpuller in it, and fetches ``content`` then:
    a change there needs no new build. ``branch`` is a branch or a tag."""
    inside = urlencode({"repo": content.url, "urlpath": f"lab/tree/{content.name}/{quote(notebook)}", "branch": branch})
    return f"{_base(environment, environment_ref)}?urlpath={quote(f'git-pull?{inside}', safe='')}"


def _base(where: Repository, ref: str) -> str:
    return f"{HUB}/v2/{where.provider}/{where.spec}/{quote(ref, safe='/')}"


def badge(link: str) -> str:
    """The badge in Markdown, as Binder's own page writes it."""
    return f"[![Binder]({HUB}/badge_logo.svg)]({link})"


def absolute_paths(notebook: str) -> tuple[tuple[int, str], ...]:
    """Number of the cell, from 1, and path, for every absolute path in the code of a notebook. Raises UsageError for
    what is no notebook."""
    try:
        cells: list[dict[str, Any]] = loads(notebook)["cells"]
        sources = [(number, "".join(cell["source"])) for number, cell in enumerate(cells, 1)
                   if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        raise UsageError("That is no notebook.", "Name an .ipynb file.") from None
    return tuple(dict.fromkeys((number, found[0]) for number, text in sources for found in ABSOLUTE.finditer(text)))
