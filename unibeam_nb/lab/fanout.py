"""The images of a plan's cases, made by the workers of a dask cluster that share the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unibeam_nb.progress import progress

if TYPE_CHECKING:
    from unibeam_nb.bench.plan import Case, Plan
    from unibeam_nb.bench.worker import Home
    from unibeam_nb.model import Image
    from unibeam_nb.store import Store


def build_over(client: Any, store: Store, plan: Plan) -> None:
    """Put the image of every case into the store, made by those workers that see it; without any, by nobody.

    What one cannot make is left to whoever asks for it next, and hears why.
    """
    from unibeam_nb.bench.cluster import home_of

    with home_of(store) as home:
        sharing = [address for address, shares in client.run(_sees, home).items() if shares]
        if not sharing:
            return
        futures = [client.submit(_build, home, plan.source, case, workers=sharing, pure=False) for case in plan.cases]
        for number, future in enumerate(futures):
            progress(number / len(futures), f"image {number + 1} of {len(futures)}")
            future.exception()


def _sees(home: Home) -> bool:
    """Whether a worker sees the sender's store."""
    return home.seen


def _build(home: Home, source: str, case: Case) -> Image:
    """The image of a case, on a worker; the store lets one worker make each image, whoever else wants it."""
    from unibeam_nb.lab import Lab
    from unibeam_nb.lab.cases import image_of_case

    lab = Lab(home.store)
    return image_of_case(lab, lab.named(source), case)
