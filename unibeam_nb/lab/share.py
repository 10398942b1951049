"""A notebook and its repository -> links that open it on Binder, and what would keep others from seeing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unibeam_nb import process, tools
from unibeam_nb.errors import UsageError
from unibeam_nb.lab.binder import Repository, absolute_paths, badge, binder_link, puller_link, repository

ENVIRONMENTS = ("binder", ".binder", "environment.yml", "requirements.txt", "Dockerfile", "pyproject.toml", "setup.py",
                "install.R", "apt.txt", "default.nix")
"""What tells Binder what to install (repo2docker's configuration files); the first two are directories of them."""

PULLER = "nbgitpuller"


@dataclass(frozen=True)
class Shared:
    """Links to a notebook. ``ref`` is a tag, branch or commit; ``puller`` is empty where no branch is known."""

    notebook: str
    repository: Repository
    ref: str
    link: str
    puller: str
    warnings: tuple[str, ...]

    @property
    def badge(self) -> str:
        """In Markdown."""
        return badge(self.link)


class Sharing:
    """The Lab's half that makes links."""

    def share(self, path: Path | None = None, *, repo: str | None = None, ref: str | None = None,
              notebook: str | None = None, environment: str | None = None) -> Shared:
        """Links to the notebook at ``path``. What is not given is asked of its git repository: ``repo`` the address,
        ``ref`` the tag of the commit or the commit, ``notebook`` the path inside. ``environment`` is the repository
        that the nbgitpuller link starts, if it is another one.

        Nothing is fetched: what was pushed is known as of the last fetch. Raises UsageError without a repository.
        """
        if path is None and not (repo and ref and notebook):
            raise UsageError("Say which notebook to share.",
                             "Name the file, or say all of --repo URL, --ref REF and --notebook PATH.")
        checkout = None if path is None else _Checkout.of(path, needed=not (repo and ref and notebook))
        where = repository(repo or _known(checkout).remote())
        inside = notebook or _known(checkout).inside
        if PurePosixPath(inside).is_absolute() or ".." in PurePosixPath(inside).parts:
            raise UsageError(f"{inside} is not a path inside a repository.", "Write it from the repository's top.")
        chosen = ref or _known(checkout).ref()
        branch = ref or (checkout.branch() if checkout else "")
        runs = repository(environment) if environment else where
        puller = puller_link(runs, "HEAD" if environment else chosen, where, branch, inside) if branch else ""
        found = (*_warnings(path), *(checkout.warnings(pushed=not ref, own=not environment) if checkout else ()))
        return Shared(inside, where, chosen, binder_link(where, chosen, inside), puller, found)


def _known(checkout: _Checkout | None) -> _Checkout:
    assert checkout is not None  # Without one, everything was given.
    return checkout


def _warnings(path: Path | None) -> tuple[str, ...]:
    """What of the file itself others cannot follow."""
    if path is None:
        return ()
    found = absolute_paths(_read(path))
    return tuple(f"Cell {number} names {name}, which others do not have." for number, name in found)


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{path} cannot be read: {reason}.", "Name a notebook, an .ipynb file.") from None


@dataclass(frozen=True)
class _Checkout:
    """A file in a working tree of git: the tree's top, and the file's path below it."""

    top: Path
    inside: str

    @classmethod
    def of(cls, path: Path, needed: bool) -> _Checkout | None:
        path = path.expanduser().absolute()
        _read(path)
        found = process.run([tools.find("git"), "rev-parse", "--show-toplevel"], cwd=path.parent, check=False)
        if found.code == 0:
            top = Path(found.stdout.rstrip("\n")).resolve()
            return cls(top, path.resolve().relative_to(top).as_posix())
        if needed:
            raise UsageError(f"{path.name} is in no git repository.",
                             "Commit and push it, or say --repo URL, --ref REF and --notebook PATH.")
        return None

    def git(self, *words: str) -> str:
        """What git answers; empty where it has no answer."""
        done = process.run([tools.find("git"), *words], cwd=self.top, check=False)
        return done.stdout.strip() if done.code == 0 else ""

    def branch(self) -> str:
        return self.git("symbolic-ref", "--short", "HEAD")

    def remote(self) -> str:
        """The address of the branch's own remote, else of origin, else of any."""
        names = self.git("remote").splitlines()
        own = self.git("config", f"branch.{self.branch()}.remote")
        chosen = next((name for name in (own, "origin", *names) if name in names), None)
        if chosen is None:
            raise UsageError("This repository has no remote: nobody else can reach it.",
                             "Push it somewhere (git remote add origin URL), or say --repo URL.")
        return self.git("remote", "get-url", chosen)

    def ref(self) -> str:
        """The tag of the commit that is checked out, the newest where there are several; else the commit."""
        tags = self.git("tag", "--points-at", "HEAD", "--sort=-creatordate").splitlines()
        commit = self.git("rev-parse", "HEAD")
        if not commit:
            raise UsageError("Nothing is committed in this repository yet.", "Commit the notebook, and push it.")
        return tags[0] if tags else commit

    def warnings(self, pushed: bool, own: bool) -> tuple[str, ...]:
        """What keeps others from seeing what is here; ``pushed`` asks whether the commit is at a remote, ``own``
        whether the repository tells Binder what to install."""
        return tuple(filter(None, (self._committed(), self._pushed() if pushed else "", *self._environment(own))))

    def _committed(self) -> str:
        if not self.git("ls-tree", "--name-only", "HEAD", "--", self.inside):
            return f"{self.inside} is not committed: the link will not find it."
        changed = self.git("status", "--porcelain", "--", self.inside)
        return f"{self.inside} was changed since it was committed: others see it as it was." if changed else ""

    def _pushed(self) -> str:
        if self.git("branch", "--remotes", "--contains", "HEAD"):
            return ""
        commit = self.git("rev-parse", "--short", "HEAD")
        return f"The commit {commit} is at no remote, as far as is known here: push it." if commit else ""

    def _environment(self, own: bool) -> tuple[str, ...]:
        there = [self.top / name for name in ENVIRONMENTS if (self.top / name).exists()]
        if not own:
            return ()
        if not there:
            return ("The repository does not tell Binder what to install: add an environment.yml or requirements.txt.",)
        chosen = sorted(there[0].iterdir()) if there[0].is_dir() else there
        texts = (each.read_text(encoding="utf-8", errors="replace") for each in chosen if each.is_file())
        return () if any(PULLER in text for text in texts) else (
            f"The link with {PULLER} needs it in the environment, which does not name it.",)
