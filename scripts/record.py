"""Record what lessons show beside their own results, for hosts that cannot have all of it. Run nothing else beside it.

    scripts/record.py [OSV_KERNEL]

Leaves in ``notebooks/data/``: ``wishes.json``, what became of the wishes of notebook 07 in every place, where an OSv
kernel is named here or known already; and ``rabbitmq.jsonl``, the experiment of notebook 06 with more blocks. The other
experiments in that directory are recorded by ``scripts/bench.py``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat

from unibeam_nb.apt import obtain
from unibeam_nb.bench import Experiment
from unibeam_nb.bench.host import fingerprint
from unibeam_nb.errors import UnibeamError
from unibeam_nb.image.osv_loader import known_osv
from unibeam_nb.jsonable import dump
from unibeam_nb.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "notebooks" / "data"
PLACES = {"release": "release@process", "linux": "linux@qemu", "oci": "oci@crun", "oci+slim": "oci+slim@crun",
          "osv": "osv@qemu"}
BROKERS = ("linux@qemu", "linux+tiny@qemu", "oci+scratch@crun", "release@process")
PACKAGE = "rabbitmq-server"


def body(notebook: str, first: str) -> str:
    """What stands below the first line of the cell of this notebook that starts with ``first``."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    return str(next(cell.source for cell in cells if cell.source.startswith(first))).partition("\n")[2]


def wishes(lab: Lab) -> dict[str, dict[str, str]]:
    """What became of each wish, by place."""
    lab.build("wishes", text=body("07_unikernels", "%%unibeam build wishes"), applications=("crypto",))
    found = {}
    for place, arm in PLACES.items():
        machine = lab.boot("wishes", arm=arm)
        try:
            lines = [line.split(" ", 2) for line in machine.console.tail(200) if line.startswith("wish ")]
            found[place] = {name: rest[0] for _, name, *rest in lines if rest}
        finally:
            machine.stop()
    return found


def rabbitmq(lab: Lab, blocks: int = 5) -> Experiment:
    """RabbitMQ in every way, to its first AMQP connection."""
    with tempfile.TemporaryDirectory() as place:
        root = obtain(lab.store, "RabbitMQ", PACKAGE, lambda apt: {PACKAGE: apt.version(PACKAGE) or ""},
                      lambda apt, packages: apt.unpack(packages, Path(place)), "It cannot be recorded without.")
        lab.build("rabbitmq", path=next((root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")), ports=(5672,))
    return lab.bench("rabbitmq", arms=BROKERS[:1], against=BROKERS[1:], blocks=blocks, warmup=1, http="tcp:5672",
                     mem_mb=512, deadline=300.0)


def main(osv: str | None) -> None:
    lab = Lab()
    if osv:
        lab.add_osv(osv)
    if known_osv(lab.store):
        host = fingerprint()
        recording = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "outcomes": wishes(lab),
                     "host": f"{host.cpu}, {host.cores} cores, {host.distribution}"}
        (DATA / "wishes.json").write_text(f"{dump(recording)}\n", encoding="utf-8")
    else:
        print("wishes.json stays as it is: there is no OSv kernel (unibeam kernel add osv PATH).")
    shutil.copyfile(rabbitmq(lab).path, DATA / "rabbitmq.jsonl")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else None)
    except UnibeamError as error:
        print(f"record: {error}", file=sys.stderr)
        sys.exit(1)
