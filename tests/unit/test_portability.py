"""What becomes of a release's findings in each kind of image."""

from __future__ import annotations

import pytest

from unibeam_nb.errors import UsageError
from unibeam_nb.model import Finding
from unibeam_nb.release import findings
from unibeam_nb.release.portability import BECOMES, CARE, FAILS, PLACES, WORKS, verdicts


def test_every_kind_of_finding_has_a_verdict_in_every_place() -> None:
    for place in PLACES:
        assert set(BECOMES[place]) == set(findings.KINDS) - {"note"}, place


def test_failures_come_first_and_notes_are_left_out() -> None:
    found = verdicts([Finding("note", "a", "x"), Finding("nif", "b", "x"), Finding("disk", "c", "x"),
                      Finding("os-cmd", "d", "x")], "osv")
    assert [(v.outcome, v.finding.where) for v in found] == [(FAILS, "d"), (CARE, "c"), (WORKS, "b")]


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        verdicts([], "moon")
    assert str(caught.value) == ("'moon' is not a target that can be checked.\n"
                                 "  Hint: The targets are linux, osv, xen, oci, oci+slim, release.")
