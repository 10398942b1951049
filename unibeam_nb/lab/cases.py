"""The image of every case of a plan, and the arms that cannot have one here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from unibeam_nb.errors import BenchError, Cancelled, ImageError, ToolMissing, UnibeamError
from unibeam_nb.progress import note

if TYPE_CHECKING:
    from unibeam_nb.bench import Experiment, Plan
    from unibeam_nb.bench.plan import Case
    from unibeam_nb.bench.preview import Absent
    from unibeam_nb.lab.builds import Build, Builds
    from unibeam_nb.model import Image, Sample
    from unibeam_nb.store import Store


def absent_arms(store: Store, plan: Plan) -> list[Absent]:
    """The arms that cannot run on this host, all at once."""
    from unibeam_nb.bench.preview import Absent
    from unibeam_nb.machine import obstacle

    why = {arm: obstacle(store, arm) for arm in plan.arms}
    return [Absent(case.name, told) for case in plan.cases if (told := why[case.arm]) is not None]


def images_of_cases(lab: Builds, plan: Plan, *, keep_going: bool,
                    here: bool = True) -> tuple[Plan, dict[str, Image], list[Absent]]:
    """An image for every case, built where it is not in the store, and the plan of those that can run (unless they are
    to run somewhere else than ``here``).

    With ``keep_going`` an arm whose runner is missing, or whose image cannot be made, is left out of the plan, told,
    and returned; otherwise BenchError names all such arms at once.
    """
    from unibeam_nb.bench.preview import Absent

    build = lab.named(plan.source)
    absent = absent_arms(lab.store, plan) if here else []
    images: dict[str, Image] = {}
    if keep_going or not absent:
        gone = {a.arm for a in absent}
        for case in plan.cases:
            if case.name in gone:
                continue
            try:
                images[case.name] = image_of_case(lab, build, case)
            except Cancelled:
                raise
            except (ImageError, ToolMissing) as error:
                absent.append(Absent(case.name, f"{error.message} {error.hint or ''}".strip()))
    if not absent:
        return plan, images, []
    if not keep_going or not images:
        raise _cannot_run(plan, absent)
    left = plan.without(frozenset(a.arm for a in absent))
    for one in absent:
        note(f"Left out {one}")
    return left, {name: images[name] for name in left.names}, absent


def image_of_case(lab: Builds, build: Build, case: Case) -> Image:
    """The image of ``build`` that this case runs: its arm's, under its factors."""
    from unibeam_nb.bench.plan import DEFAULT

    erts, kernel = case.value("erts", DEFAULT), case.value("kernel", DEFAULT)
    if erts != DEFAULT:
        build = dataclasses.replace(build, release=lab.on_erts(build.release, erts))
    if kernel != DEFAULT:
        build = dataclasses.replace(build, kernel=kernel)
    return lab.image(build, case.arm)


def _cannot_run(plan: Plan, absent: list[Absent]) -> UnibeamError:
    whole = len(plan.cases)
    count = f"{len(absent)} of the {whole} arms cannot run here." if whole > 1 else "The arm cannot run here."
    hint = "Get what they need, or run the rest with --keep-going." if len(absent) < whole else \
        "'unibeam doctor' says what this host can do, and how to get the rest."
    return BenchError(count, hint, [str(a) for a in absent])


def arm_of(exp: Experiment, sample: Sample) -> str:
    """How the arm of a sample is spelled, whatever it was called."""
    return str(exp.header["images"].get(sample.case, {}).get("arm", sample.arm))
