"""Every command of unibeam as data: the magic, the shell, the help and Tab completion all read this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unibeam_nb.analysis.chart import CHARTS, EXPORTS, MEASURE_NAMES
from unibeam_nb.image.emit import CONFIGURATIONS, TARGETS
from unibeam_nb.model import ACCELERATORS

Kind = Literal["text", "list", "count", "number", "switch"]
"""What an option's value is: text; a comma-separated list that may also be repeated; a whole number from 0;
a positive number; or nothing at all."""

Completes = Literal["", "names", "boards", "arms", "machines", "experiments", "kernels", "factors", "files"]
"""What Tab offers for a value, besides its fixed choices."""


@dataclass(frozen=True)
class Option:
    """One flag of a command. ``flags[-1]`` is its long form, from which its key is made: ``--mem`` is ``mem``.

    ``bare`` is the value of a flag that may stand alone; empty where it may not.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    completes: Completes = ""
    bare: str = ""

    @property
    def key(self) -> str:
        return self.flags[-1].lstrip("-").replace("-", "_")


@dataclass(frozen=True)
class Positional:
    """One word that a command takes by its place."""

    key: str
    help: str
    required: bool = False
    choices: tuple[str, ...] = ()
    completes: Completes = ""


@dataclass(frozen=True)
class Command:
    """One command. ``body`` says what a cell's body is for it; empty when it takes none."""

    name: str
    summary: str
    positionals: tuple[Positional, ...] = ()
    options: tuple[Option, ...] = ()
    body: Literal["", "Erlang or Elixir modules", "an experiment as TOML", "an Erlang or Elixir expression"] = ""
    examples: tuple[str, ...] = ()


_MEM = Option(("--mem",), "memory of a virtual machine in MB", "MB", "count")
_VCPUS = Option(("--vcpus",), "processors of a virtual machine", "N", "count")
_ACCEL = Option(("--accel",), "accelerator; auto proves kvm by booting a tiny guest and else takes tcg", "NAME",
                choices=ACCELERATORS)
_ICOUNT = Option(("--icount",), "time a boot by the guest's instructions, a figure that a busy host leaves alone; same "
                 "as --accel icount", kind="switch")
_HTTP = Option(("--http",), "wait for the first good answer: /, 8080/path, https:8443/ or tcp:5672", "WHAT")
_UNTIL = Option(("--until",), "the instant that counts as up", "MARK", choices=("app", "http"))
_DEADLINE = Option(("--deadline",), "give up after so many seconds", "SECONDS", "number")
_OUTGOING = Option(("--outgoing",), "let virtual machines connect to others: the internet, and this host with the "
                   "services on its loopback address; else nothing gets out of them", kind="switch")
_EXPERIMENT = Positional("experiment", "an experiment's name, journal or report; the newest one if left out",
                         completes="experiments")

_WAIT = (Option(("--wait",), "let the cell wait for the end (as it does unless %config UnibeamMagics.wait is False)",
                kind="switch"),
         Option(("--no-wait",), "return a Job at once: await it, ask for its result(), or cancel() it", kind="switch"))

_MANNERS = (
    Option(("--guard",), "the program must have started all its applications within so many seconds", "SECONDS",
           "count"),
    Option(("--heart",), "the program must show a sign of life at least every so many seconds", "SECONDS", "count"),
    Option(("--restarts",), "how often a program that ends badly, hangs or does not come up is started again", "N",
           "count"))

BUILD = Command(
    "build", "turn a cell, a file, a project or a release into a release and its images",
    (Positional("name", "what to call it", required=True, completes="names"),),
    (Option(("--from",), "a .erl or .ex file, a rebar3 or mix project, a release directory or .tar.gz, "
            "an installed OTP system; - reads modules from standard input in a shell", "PATH", completes="files"),
     Option(("--lang",), "the language of the cell, where it cannot be told", "NAME", choices=("erlang", "elixir")),
     Option(("--target",), "kinds of image to make: linux, disk, osv, oci, oci+slim, release", "LIST", "list",
            choices=("linux", "disk", "osv", "oci", "oci+scratch", "oci+slim", "release")),
     Option(("--port",), "TCP ports that the program serves", "LIST", "list"),
     Option(("--app",), "further OTP applications that the release needs", "LIST", "list"),
     Option(("--flag",), "an emulator flag, for example '+S 1:1'", "FLAG", "list"),
     Option(("--kernel",), "the kernel of a linux image: stock, tiny, a kernel's name, or PATH[:MODULES]", "KERNEL",
            completes="kernels"),
     Option(("--erts",), "the emulator: host, lean (static, no JIT), or the PATH of an erts-VERSION directory", "ERTS",
            completes="files"),
     Option(("--shake",), "leave out what the program never calls: modules, and functions of OTP's and Elixir's own",
            kind="switch"),
     Option(("--keep",), "modules and applications that shaking keeps whole", "LIST", "list"),
     Option(("--drop",), "modules and applications that shaking leaves out in any case", "LIST", "list"),
     Option(("--compression",), "compression of a linux image's root", "NAME", choices=("lz4", "zstd", "xz", "none")),
     Option(("--emit",), "write next to each image what starts it elsewhere: xl, libvirt, firecracker", "LIST", "list",
            choices=tuple(CONFIGURATIONS)),
     Option(("--fallback",), "another build, whose release takes over in a linux or disk image where this one does not "
            "come up", "BUILD", completes="names"),
     *_MANNERS,
     *_WAIT),
    "Erlang or Elixir modules",
    ("build hello --port 8080", "build shop --from ~/shop --target linux,oci+slim",
     "build hello --from hello.erl --shake --keep calendar",
     "build hello --from hello.erl --fallback hello-old --guard 20 --heart 10 --restarts 3"))

CHECK = Command(
    "check", "list what in a release needs more than a BEAM around it",
    (Positional("name", "what was built", required=True, completes="names"),),
    (Option(("--target",), "say of each whether it works in such an image: linux, osv, xen, oci, oci+slim, release",
            "TARGET", choices=("linux", "osv", "xen", "oci", "oci+slim", "release")),
     Option(("--shake",), "list what shaking leaves out, why, and what it could not follow", kind="switch")),
    examples=("check hello", "check hello --target osv", "check hello --shake"))

EXPLORE = Command(
    "explore", "show what is in an image and what it weighs, down to each module, or what differs between two",
    (Positional("name", "what was built", required=True, completes="names"),),
    (Option(("--on",), "whose image: an arm, a runner, or a target (oci+slim); the one that was built if left out",
            "ARM", completes="arms"),
     Option(("--against",), "what to compare it with: another build, or another image of this one (oci+slim)", "OTHER",
            completes="names"),
     Option(("--search",), "only what is called so, a part of its name or its path", "WORD"),
     Option(("--depth",), "how many levels the text shows; 2 if left out", "N", "count"),
     Option(("-o", "--output"), "also write it to a .svg, .png or .pdf file as a map, or to a .csv file as a table",
            "FILE", completes="files")),
    examples=("explore hello", "explore hello --against oci+slim", "explore hello --search gen_",
              "explore new --against old"))

BOOT = Command(
    "boot", "boot what was built and return the live machine",
    (Positional("name", "what was built", required=True, completes="names"),),
    (Option(("--on",), "a runner (qemu, uml, xen, podman, ...) or an arm (oci+slim@podman)", "ARM", completes="arms"),
     _MEM, _VCPUS, _ACCEL, _ICOUNT,
     Option(("--port",), "ports to forward from 127.0.0.1: GUEST or HOST:GUEST", "LIST", "list"),
     _HTTP, _UNTIL, _DEADLINE,
     Option(("--env",), "an environment variable of the program; KEY alone is taken from your own", "KEY[=VALUE]",
            "list"),
     Option(("--as",), "what to call the machine", "NAME"),
     Option(("--shell",), "an Erlang shell on its console, which then takes input", kind="switch"),
     Option(("--resume",), "copy a machine that is up already instead of booting one; the first time takes the "
            "snapshot", kind="switch"),
     Option(("--dhcp",), "let a virtual machine ask the network for its address; else it has a fixed one at once",
            kind="switch"),
     _OUTGOING,
     Option(("--channel",), "let eval, reload and top talk to it, over 127.0.0.1 and with a secret of its own",
            kind="switch"),
     Option(("--user-data",), "a #cloud-config that the machine applies before its program starts: a file, or the "
            "address http://ADDRESS/ where user-data lies", "FILE", completes="files"),
     Option(("--data",), "keep what the program writes to its home on a disk, which is made on first use: a SIZE such "
            "as 64M, or a FILE", "SIZE|FILE", completes="files"),
     *_MANNERS,
     *_WAIT),
    examples=("boot hello --mem 128 --http /", "boot hello --channel", "boot hello --resume --http /",
              "boot hello --user-data node.yaml", "boot hello --data 64M --heart 10 --restarts 3",
              "boot hello --on oci+slim@podman"))

BENCH = Command(
    "bench", "measure arms against each other in randomised blocks",
    (Positional("name", "what was built, or a plan in a .toml file", completes="names"),),
    (Option(("--on",), "the arms to measure: ARM or LABEL=ARM", "LIST", "list", completes="arms"),
     Option(("--against",), "the arms to compare them with", "LIST", "list", completes="arms"),
     Option(("-n", "--blocks"), "blocks: how often each arm is booted", "N", "count"),
     Option(("--warmup",), "blocks before these that no statistic uses", "N", "count"),
     Option(("--seed",), "seed of the order of the arms", "N", "count"),
     _MEM, _VCPUS, _ACCEL, _ICOUNT, _HTTP, _UNTIL, _DEADLINE, _OUTGOING,
     Option(("--vary",), "also vary something besides the arm: mem_mb, vcpus, kernel, flags or erts", "FACTOR=A,B",
            "list", completes="factors"),
     Option(("--within",), "end when the interval of every ratio to the baseline is narrower than this: 5% or 0.05; "
            "-n is then the most blocks", "PART"),
     Option(("--baseline",), "the arm that the ratios of --within are to", "ARM", completes="arms"),
     Option(("--steady",), "besides booting each arm, load it for so many seconds: answers per second, their latency, "
            "and the processor time of an idle machine", "SECONDS", "count", bare="5"),
     Option(("--density",), "instead of single boots, run so many copies at once: the memory of all, and of each",
            "LIST", "list", bare="1,4,16,32"),
     Option(("--min-memory",), "instead of single boots, seek the least memory, up to --mem, in which each arm boots",
            kind="switch"),
     Option(("--experiment",), "the experiment's name; one that exists is continued", "NAME",
            completes="experiments"),
     Option(("--dry-run",), "show the plan, how long it will take, and what cannot run here; measure nothing",
            kind="switch"),
     Option(("--keep-going",), "leave out the arms that cannot run here", kind="switch"),
     Option(("--if-busy",), "what to do where another measurement runs on this host", "WHAT",
            choices=("wait", "refuse")),
     Option(("--cluster",), "measure on the workers of the dask scheduler at this address which have the resource "
            "bench=1", "ADDRESS"),
     *_WAIT),
    "an experiment as TOML",
    ("bench hello --against oci+slim@podman,release@process -n 30", "bench plan.toml --dry-run",
     "bench hello --on release@process --against release+lean@process --steady 10",
     "bench hello --on linux+tiny+lean+resume@qemu --against oci+scratch@crun --density 1,4,16",
     "bench hello --on linux+tiny+lean@qemu --against oci+scratch+lean@crun --min-memory",
     "bench hello --vary mem_mb=64,128 --within 5% --baseline release@process",
     "bench hello --on a=release@process --against b=release@process"))

_FORCE = Option(("--force",), "compare samples of different hosts or accelerators all the same, and say so",
                kind="switch")

CHART = Command(
    "chart", "draw an experiment",
    (Positional("kind", "what to draw", required=True, choices=CHARTS), _EXPERIMENT),
    (Option(("--baseline",), "ratio: the arm that the others are compared with; the fastest if left out", "ARM",
            completes="arms"),
     Option(("--measure",), "ratio: what is compared; boot if left out", "NAME", choices=MEASURE_NAMES),
     Option(("--arm",), "treemap: whose image; the first arm's if left out", "ARM", completes="arms"),
     _FORCE,
     Option(("-o", "--output"), "also write it to a .svg, .png or .pdf file", "FILE", completes="files"),),
    examples=("chart boot", "chart ratio --baseline release@process", "chart memory -o memory.svg"))

REPORT = Command(
    "report", "write one self-contained HTML file about an experiment", (_EXPERIMENT,),
    (Option(("-o", "--output"), "the file to write", "FILE", completes="files"),),
    examples=("report -o out/report.html",))

COMPARE = Command(
    "compare", "draw one experiment against another, over the arms that both have",
    (Positional("first", "the experiment to compare with: a name, journal or report", required=True,
                completes="experiments"),
     Positional("second", "the experiment that is compared: a name, journal or report", required=True,
                completes="experiments")),
    (Option(("--measure",), "what is compared; boot if left out", "NAME", choices=MEASURE_NAMES), _FORCE,
     Option(("-o", "--output"), "also write it to a .svg, .png or .pdf file", "FILE", completes="files")),
    examples=("compare before after", "compare before report.html --measure memory --force"))

EXPORT = Command(
    "export", "write an experiment to a file that other programs read", (_EXPERIMENT,),
    (Option(("--format",), "what to write; told by the file's name if left out. hyperfine: boot times as hyperfine "
            "--export-json writes them; csv, parquet: every sample, in one table", "NAME", choices=EXPORTS),
     Option(("-o", "--output"), "the file to write", "FILE", completes="files")),
    examples=("export --format hyperfine -o boot.json", "export night -o night.parquet"))

_OF_ARM = Option(("--on",), "the arm whose image is taken (disk+bios+tiny@qemu)", "ARM", completes="arms")

EMIT = Command(
    "emit", "write what another platform takes: a disk in its format, its configuration, or the commands that carry it "
    "there",
    (Positional("name", "what was built", required=True, completes="names"),),
    (Option(("--as",), "a disk format (raw, qcow2, vmdk, vhd), a configuration (xl, libvirt, firecracker), or commands "
            "(gce, azure, vmware, proxmox)", "WHAT", choices=tuple(TARGETS)),
     Option(("-o", "--output"), "the file to write; a disk is NAME.FORMAT if left out, a text is shown", "FILE",
            completes="files"),
     _OF_ARM, _MEM, _VCPUS),
    examples=("emit hello --as qcow2", "emit hello --as vhd --on disk+bios+tiny@qemu",
              "emit hello --as libvirt -o hello.xml", "emit hello --as gce"))

SBOM = Command(
    "sbom", "list what an image is made of, where each thing comes from, and what needs what: its bill of materials",
    (Positional("name", "what was built", required=True, completes="names"),),
    (Option(("--on",), "whose image: an arm, a runner, or a target (oci+slim); the one that was built if left out",
            "ARM", completes="arms"),
     Option(("-o", "--output"), "also write it to a .json file, in CycloneDX's format", "FILE", completes="files")),
    examples=("sbom hello", "sbom hello --on oci+slim -o hello.cdx.json"))

PUBLISH = Command(
    "publish", "make what was built an image of a cloud; says only what it would do unless told --yes",
    (Positional("cloud", "where to; others than aws: emit NAME --as gce, for example", required=True,
                choices=("aws",)),
     Positional("name", "what was built", required=True, completes="names")),
    (Option(("--region",), "the region; the one of your AWS configuration if left out", "REGION"), _OF_ARM,
     Option(("--yes",), "send and register it", kind="switch")),
    examples=("publish aws hello --region eu-central-1", "publish aws hello --yes"))

SHARE = Command(
    "share", "make links that open a notebook on Binder, and say what would keep others from seeing it",
    (Positional("path", "the notebook, a file in a git repository", completes="files"),),
    (Option(("--repo",), "the repository's address, or OWNER/REPO at GitHub; the remote's if left out", "URL"),
     Option(("--ref",), "a tag, branch or commit; what is checked out if left out, by its tag where it has one", "REF"),
     Option(("--notebook",), "the notebook's path in the repository", "PATH"),
     Option(("--environment",), "the repository that the nbgitpuller link starts, where that is another one", "URL")),
    examples=("share notebooks/01_quickstart.ipynb", "share demo.ipynb --ref v1.0",
              "share --repo OWNER/REPO --ref main --notebook demo.ipynb"))

PS = Command("ps", "list the machines that run")

LOGS = Command(
    "logs", "show the end of a machine's console",
    (Positional("machine", "a machine's name or the start of its id", required=True, completes="machines"),),
    (Option(("-n", "--lines"), "how many lines", "N", "count"),), examples=("logs hello -n 100",))

_MACHINE = Positional("machine", "a machine's name or the start of its id", required=True, completes="machines")
_LANG = Option(("--lang",), "the language, where it cannot be told", "NAME", choices=("erlang", "elixir"))

EVAL = Command(
    "eval", "evaluate an expression in a running machine and show its value",
    (_MACHINE, Positional("expression", "what to evaluate, where no cell is below; - reads it from standard input")),
    (_LANG, _DEADLINE,
     Option(("--forget",), "first forget every variable that was bound before", kind="switch")),
    "an Erlang or Elixir expression",
    ("eval hello 'length(processes()).'", "eval hello 'X = erlang:memory(total), X div 1024.'"))

RELOAD = Command(
    "reload", "load the modules of a cell into a running machine, and say who still runs old code",
    (_MACHINE,),
    (Option(("--from",), "the file to compile; - reads modules from standard input in a shell", "PATH",
            completes="files"),
     _LANG,
     Option(("--kill",), "end processes that run code from before the last reload", kind="switch")),
    "Erlang or Elixir modules", ("reload hello --from hello.erl",))

TOP = Command(
    "top", "show the processes in a running machine by memory, reductions or queue, live in a notebook",
    (_MACHINE,),
    (Option(("--by",), "what to order them by", "WHAT", choices=("memory", "reductions", "queue")),
     Option(("-n", "--lines"), "how many", "N", "count"),
     Option(("--seconds",), "how long to watch them", "SECONDS", "number")),
    examples=("top hello", "top hello --by reductions --seconds 2"))

CONSOLE = Command(
    "console", "show a machine's console live; with --shell at its boot it takes input",
    (_MACHINE,),
    examples=("console hello",))

CLONE = Command(
    "clone", "boot another machine like one that runs: a copy of its snapshot where it is a linux machine on qemu",
    (_MACHINE,), (Option(("--as",), "what to call the new machine", "NAME"),
                  Option(("--copies",), "how many of them; refused where they do not fit into memory", "N", "count"),
                  *_WAIT),
    examples=("clone hello", "clone hello --as second", "clone hello --copies 8"))

DASHBOARD = Command(
    "dashboard", "a form for an experiment that runs it and charts it live; or watch one that runs, wherever it runs",
    (Positional("name", "a build to measure, or an experiment (its name or journal) to watch", completes="boards"),),
    examples=("dashboard", "dashboard hello", "dashboard hello-20260101-120000"))

STOP = Command(
    "stop", "stop a machine",
    (Positional("machine", "a machine's name or the start of its id", completes="machines"),),
    (Option(("--all",), "stop every machine", kind="switch"),
     Option(("--grace",), "how long it may take to stop in good order before it is killed", "SECONDS", "number")),
    examples=("stop hello", "stop --all", "stop shop --grace 60"))

CLEAN = Command(
    "clean", "stop and remove everything that runs or was left behind", (),
    (Option(("--cache",), "also remove releases, images and kernels; experiments always stay", kind="switch"),))

DOCTOR = Command(
    "doctor", "say what this host can do, why not, and how to get the rest", (),
    (Option(("--prove",), "prove the accelerator by booting a tiny guest", kind="switch"),))

KERNEL = Command(
    "kernel", "list the kernels of images, fetch the distribution's, compile a tiny one, or add an OSv kernel of yours",
    (Positional("action", "what to do; list if left out", choices=("list", "fetch", "build", "add")),
     Positional("name", "the kernel to build (tiny: what a BEAM needs and no more) or to add (osv)",
                choices=("tiny", "osv")),
     Positional("where", "the path or URL of the kernel to add: OSv's loader.elf, kernel.elf or loader.img",
                completes="files")),
    (Option(("--sha256",), "the sha256 that the kernel to add must have; needed for a URL", "SHA256"),
     Option(("--optimise",), "what a tiny kernel is made for: the shortest boot or the fewest bytes", "WHAT",
            choices=("boot", "size")),
     Option(("--with",), "what a tiny kernel has on top: block, clouds, efi, ipv6, pci, smp, xen, or any CONFIG_NAME=y",
            "LIST", "list")),
    examples=("kernel", "kernel fetch", "kernel build tiny --optimise size --with ipv6", "kernel add osv ~/loader.elf"))

ERTS = Command(
    "erts", "list the emulators that releases can run on, or build the lean one from the distribution's source",
    (Positional("action", "what to do; list if left out", choices=("list", "build")),
     Positional("kind", "what to build", choices=("lean",))),
    examples=("erts", "erts build lean"))

COMMANDS: dict[str, Command] = {command.name: command for command in (
    BUILD, CHECK, EXPLORE, BOOT, BENCH, DASHBOARD, CHART, COMPARE, REPORT, EXPORT, EMIT, SBOM, PUBLISH, SHARE, PS, LOGS,
    CONSOLE, EVAL, RELOAD, TOP, CLONE, STOP, CLEAN, DOCTOR, KERNEL, ERTS)}
"""Every command by name, in the order in which help lists them."""
