"""A request becomes a call of the Lab. The magic and the shell both end here.

Values that the user left out come from :class:`~unibeam_nb.notebook.given.Defaults`, which a notebook configures with
``%config UnibeamMagics``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.errors import Cancelled, UsageError
from unibeam_nb.image.emit import TARGETS
from unibeam_nb.model import ICOUNT
from unibeam_nb.notebook.commands import COMMANDS
from unibeam_nb.notebook.given import Defaults, Given
from unibeam_nb.notebook.parser import Request
from unibeam_nb.notebook.results import Board, Findings, Kernels, Lines, Runtimes, Saved, Text, Verdicts

if TYPE_CHECKING:
    from unibeam_nb.lab import Build, Lab
    from unibeam_nb.lab.plans import PlanOptions
    from unibeam_nb.lab.share import Shared
    from unibeam_nb.release.shake.report import Shaking


def execute(lab: Lab, request: Request, defaults: Defaults = Defaults()) -> Any:
    """Carry out a request and return what it made. Raises UnibeamError."""
    if request.help:
        return Text(request.help)
    return _ACTIONS[request.command](lab, Given(request, defaults))


def title_of(request: Request) -> str:
    """What a progress display calls this request."""
    subject = next((value for key in ("name", "kind", "machine", "experiment")
                    if isinstance(value := request.values.get(key), str)), "")
    return f"{request.command} {subject}".strip()


def _build(lab: Lab, given: Given) -> Build:
    source = given.text("from")
    text = given.body if given.body and given.body.strip() else None
    targets = given.many("target") or (given.default("target"),)
    flags = tuple(word for flag in given.many("flag") for word in flag.split())
    builds = []
    for target in targets:
        kind, _, flavour = target.partition("+")
        builds.append(lab.build(
            given.required("name"), text=text,
            path=Path(source) if source is not None else None, language=given.text("lang"), target=kind,
            flavour=flavour or ("scratch" if kind == "oci" else ""),
            ports=tuple(_port(port) for port in given.many("port")), applications=given.many("app"), flags=flags,
            kernel=given.text("kernel"), compression=given.text("compression"),
            erts=given.text("erts"), shake=given.switch("shake"), keep=given.many("keep"), drop=given.many("drop"),
            fallback=given.text("fallback"), guard=given.value("guard", 0), heart=given.value("heart", 0),
            restarts=given.value("restarts", 0)))
    # The first build says whether the release was in the cache; for the others it always was.
    whole = dataclasses.replace(builds[0], images=tuple(image for build in builds for image in build.images))
    lab.beside(whole, given.many("emit"))
    return whole


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise UsageError(f"{text!r} is not a port that a program can serve.", "Write a number from 1 to 65535.")
    return int(text)


def _boot(lab: Lab, given: Given) -> Any:
    return lab.boot(
        given.required("name"), arm=given.value("on"), mem_mb=given.value("mem"), vcpus=given.value("vcpus"),
        accelerator=_accelerator(given), ports=given.many("port"), http=given.text("http"),
        until=given.text("until"), deadline=given.value("deadline"), env=given.many("env"),
        machine_name=given.text("as"), resume=given.switch("resume"), dhcp=given.switch("dhcp"),
        channel=given.switch("channel"), shell=given.switch("shell"), user_data=given.text("user_data"),
        data=given.text("data"), guard=given.value("guard", 0), heart=given.value("heart", 0),
        restarts=given.value("restarts", 0), outgoing=given.switch("outgoing"))


def _accelerator(given: Given) -> str:
    if not given.switch("icount"):
        return str(given.value("accel"))
    if given.was_given("accel") and given.text("accel") != ICOUNT:
        raise UsageError("--icount is an accelerator of its own.", "Leave out --accel.")
    return ICOUNT


def _bench(lab: Lab, given: Given) -> Any:
    name: str | None = given.text("name")
    toml = given.body
    if name is not None and name.endswith(".toml"):
        if toml is not None and toml.strip():
            raise UsageError("There are two plans, a file and the cell's body.", "Leave one of them out.")
        toml = _read_plan(name)
        name = None
    if toml is not None and toml.strip():
        _refuse_flags_of_the_plan(given)
    options: PlanOptions = {
        "arms": given.many("on"), "against": given.many("against"), "blocks": _blocks(given),
        "warmup": given.value("warmup", 1 if _repeated(given) else 0), "seed": given.value("seed"),
        "mem_mb": given.value("mem"), "vcpus": given.value("vcpus"), "http": given.text("http"),
        "until": given.text("until"), "deadline": given.value("deadline"), "accelerator": _accelerator(given),
        "factors": _factors(given.many("vary")), "within": _part(given.text("within")),
        "baseline": given.text("baseline"), "kinds": _kinds(given), "outgoing": given.switch("outgoing")}
    if given.was_given("steady"):
        options["load_s"] = given.value("steady")
    if given.was_given("density"):
        options["copies"] = tuple(_copies(word) for word in given.many("density"))
    if given.switch("dry_run"):
        return lab.preview(lab.plan(name, toml=toml, **options))
    try:
        return lab.bench(name, toml=toml, experiment=given.text("experiment"), keep_going=given.switch("keep_going"),
                         if_busy=given.value("if_busy", "wait"), client=given.text("cluster"), **options)
    except (Cancelled, KeyboardInterrupt):
        # The journal has every finished sample, which somebody who just pressed Ctrl-C will want to hear.
        raise Cancelled(hint="The boots measured so far are kept; --experiment NAME goes on with them.") from None


def _kinds(given: Given) -> tuple[str, ...]:
    """What is measured: boots, unless the user asks for the density or the least memory instead."""
    wanted = {"steady": given.was_given("steady"), "density": given.was_given("density"),
              "minimum": given.switch("min_memory")}
    chosen = tuple(kind for kind, holds in wanted.items() if holds)
    return chosen if chosen and not wanted["steady"] else ("boot", *chosen)


def _repeated(given: Given) -> bool:
    """Whether what is measured varies from block to block. Memory hardly does: once is enough, unless -n says more."""
    return "boot" in _kinds(given)


def _copies(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise UsageError(f"{word!r} is not a number of copies.",
                         "Put the build's name first, and commas between the numbers: bench hello --density 1,4")
    return int(word)


def _blocks(given: Given) -> int | None:
    """The number of blocks; with a stop rule the user's own word only, which is then the cap."""
    if not _repeated(given) and not given.was_given("blocks"):
        return 1
    return given.value("blocks") if given.was_given("blocks") or not given.was_given("within") else None


def _part(text: str | None) -> float | None:
    """``5%`` or ``0.05`` as 0.05."""
    if text is None:
        return None
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a part of a ratio.", "Write it as in --within 5%") from None


def _factors(words: tuple[str, ...]) -> dict[str, list[str]]:
    """``mem_mb=64,128`` as values by factor; a factor may be written more than once."""
    found: dict[str, list[str]] = {}
    for word in words:
        key, equals, values = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} does not say what to vary.", "Write it as in --vary mem_mb=64,128")
        found.setdefault(key, []).extend(values.split(","))
    return found


RUN_OPTIONS = ("wait", "no_wait", "experiment", "dry_run", "keep_going", "if_busy", "cluster")
"""The flags of ``bench`` that say how to run a plan, and do not belong into it."""


def _refuse_flags_of_the_plan(given: Given) -> None:
    """Beside a plan in TOML a flag would be passed over in silence, which is worse than an error."""
    for option in COMMANDS["bench"].options:
        if option.key not in RUN_OPTIONS and given.was_given(option.key):
            raise UsageError(f"{option.flags[-1]} cannot stand beside a plan in TOML.", "Write it into the plan.")


def _read_plan(name: str) -> str:
    return _read(name, "Name a plan, a TOML file that says what to measure.")


def _read(name: str, hint: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{name} cannot be read: {reason}.", hint) from None


def _chart(lab: Lab, given: Given) -> Any:
    return _saved(given, lab.chart(given.required("kind"), given.text("experiment"), baseline=given.text("baseline"),
                                   measure=given.text("measure"), arm=given.text("arm"), force=given.switch("force")))


def _compare(lab: Lab, given: Given) -> Any:
    return _saved(given, lab.compare(given.required("first"), given.required("second"), measure=given.text("measure"),
                                     force=given.switch("force")))


def _report(lab: Lab, given: Given) -> Saved:
    output = given.text("output")
    return Saved(lab.report(given.text("experiment"), Path(output).expanduser() if output else None))


def _check(lab: Lab, given: Given) -> Findings | Verdicts | Shaking:
    name, target = given.required("name"), given.text("target")
    if given.switch("shake"):
        if target is not None:
            raise UsageError("--shake and --target cannot stand together.", "Leave one of them out.")
        return lab.shaking(name)
    if target is None:
        return Findings(name, tuple(lab.check(name)))
    return Verdicts(name, target, lab.verdicts(name, target))


def _explore(lab: Lab, given: Given) -> Any:
    return _saved(given, lab.explore(given.required("name"), on=given.text("on"), against=given.text("against"),
                                     word=given.text("search") or "", depth=given.value("depth", 2)))


def _saved(given: Given, made: Any) -> Any:
    """What was made, also written to the file that was named, if any."""
    output = given.text("output")
    if output is not None:
        made.save(Path(output).expanduser())
    return made


def _export(lab: Lab, given: Given) -> Saved:
    form, output = given.text("format"), given.text("output")
    return Saved(lab.export(form, given.text("experiment"), Path(output).expanduser() if output else None))


def _kernel(lab: Lab, given: Given) -> Kernels:
    action = given.text("action")
    for key, actions in _KERNEL_TAKES.items():
        if action not in actions and given.was_given(key):
            what = key if key in ("name", "where") else f"--{key}"
            raise UsageError(f"kernel {action or 'list'} takes no {what}.",
                             "Write for example: kernel build tiny, or kernel add osv PATH")
    if action == "add":
        if given.text("name") != "osv" or not given.was_given("where"):
            raise UsageError("Say which kernel to add, and where it is.", "Write: kernel add osv PATH_OR_URL")
        return Kernels((lab.add_osv(given.required("where"), given.text("sha256")),))
    if given.text("name") == "osv":
        raise UsageError("An OSv kernel is not built here.", "Add yours: kernel add osv PATH_OR_URL")
    if action == "fetch":
        return Kernels((lab.stock_kernel(),))
    if action == "build":
        return Kernels((lab.build_tiny_kernel(given.value("optimise", "boot"), given.many("with")),))
    return Kernels(tuple(lab.kernels()))


_KERNEL_TAKES = {"name": ("build", "add"), "where": ("add",), "sha256": ("add",), "optimise": ("build",),
                 "with": ("build",)}
"""Which actions of ``kernel`` take what."""


def _erts(lab: Lab, given: Given) -> Runtimes:
    if given.text("action") == "build":
        if given.text("kind") is None:
            raise UsageError("Say which emulator to build.", "Write 'erts build lean'.")
        return Runtimes((lab.lean_erts(),))
    return Runtimes(tuple(lab.runtimes()))


def _eval(lab: Lab, given: Given) -> Any:
    word = given.text("expression")
    below = given.body if given.body and given.body.strip() else None
    if word is not None and below is not None:
        raise UsageError("There are two expressions, one on the line and one below it.", "Leave one of them out.")
    if given.switch("forget"):
        lab.forget(given.required("machine"))
        if word is None and below is None:
            return Lines((f"Forgot the variables of {given.required('machine')}.",))
    # The default deadline is one for boots.
    patience = float(given.value("deadline")) if given.was_given("deadline") else 30.0
    return lab.eval(given.required("machine"), word or below or "", language=given.text("lang"), deadline=patience)


def _reload(lab: Lab, given: Given) -> Any:
    path, text = given.text("from"), given.body if given.body and given.body.strip() else None
    if (path is None) == (text is None):
        raise UsageError("A reload takes either a cell's text or --from PATH.",
                         f"Write the modules below '%%unibeam reload {given.required('machine')}'.")
    return lab.reload(given.required("machine"), text or _read(path or "", "Name a file of modules."),
                      language=given.text("lang"), kill=given.switch("kill"))


def _emit(lab: Lab, given: Given) -> Saved | Text:
    kind, output = given.text("as"), given.text("output")
    if kind is None:
        raise UsageError("Say what to emit it as.", f"It can be {', '.join(TARGETS)}: add --as qcow2, for example.")
    made = lab.emit(given.required("name"), kind, Path(output) if output is not None else None,
                    arm=given.text("on"), mem_mb=given.value("mem"), vcpus=given.value("vcpus"))
    return Saved(made.path) if made.path else Text(made.text.rstrip("\n"))


def _share(lab: Lab, given: Given) -> Shared:
    path = given.text("path")
    return lab.share(Path(path) if path is not None else None, repo=given.text("repo"), ref=given.text("ref"),
                     notebook=given.text("notebook"), environment=given.text("environment"))


def _dashboard(lab: Lab, given: Given) -> Board:
    from unibeam_nb.notebook.board import Form

    name, built = given.text("name"), lab.names()
    if name is None and not built:
        raise UsageError("There is nothing to measure yet.", "Build something first: %%unibeam build hello")
    form = Form(name if name in built else built[0] if built else "")
    if name is None or name in built:
        return Board(lab, form)
    if name.endswith(".jsonl"):
        return Board(lab, form, Path(name).expanduser())
    if name not in lab.experiments():
        raise UsageError(f"{name!r} is neither a build nor an experiment.",
                         f"Built so far: {', '.join(built) or 'nothing'}. Tab lists the experiments, too.")
    return Board(lab, form, lab.store.state / "experiments" / f"{name}.jsonl")


def _logs(lab: Lab, given: Given) -> Text:
    return Text(lab.logs(given.required("machine"), given.value("lines", 40)))


_ACTIONS: dict[str, Callable[[Any, Given], Any]] = {
    "build": _build,
    "check": _check,
    "explore": _explore,
    "boot": _boot,
    "bench": _bench,
    "chart": _chart,
    "compare": _compare,
    "report": _report,
    "export": _export,
    "emit": _emit,
    "sbom": lambda lab, given: _saved(given, lab.sbom(given.required("name"), on=given.text("on"))),
    "publish": lambda lab, given: lab.publish(given.required("name"), given.required("cloud"),
                                              region=given.text("region"), arm=given.text("on"),
                                              yes=given.switch("yes")),
    "share": _share,
    "ps": lambda lab, given: lab.ps(),
    "logs": _logs,
    "clone": lambda lab, given: (
        lab.clone(given.required("machine"), machine_name=given.text("as")) if given.value("copies") is None
        else lab.clones(given.required("machine"), given.value("copies"), given.text("as"))),
    "dashboard": _dashboard,
    "console": lambda lab, given: lab.machine(given.required("machine")).console,
    "eval": _eval,
    "reload": _reload,
    "top": lambda lab, given: lab.top(given.required("machine"), by=given.value("by", "memory"),
                                      count=given.value("lines", 15), seconds=given.value("seconds", 0.5)),
    "stop": lambda lab, given: Lines(tuple(lab.stop(given.text("machine"), all=given.switch("all"),
                                                      grace=given.value("grace")))),
    "clean": lambda lab, given: Lines(tuple(lab.clean(cache=given.switch("cache")))),
    "doctor": lambda lab, given: lab.doctor(prove=given.switch("prove")),
    "kernel": _kernel,
    "erts": _erts,
}
