"""The vocabulary: arms, probes, marks, JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.arms import FLAVOURS, ONLY_ON, OPTIONS_OF, RUNNERS, RUNNERS_OF, Arm, options_of
from unibeam_nb.errors import UsageError
from unibeam_nb.jsonable import from_json, to_json
from unibeam_nb.model import MARK_LINE, Launch, Memory, Part, Probe, Sample
from unibeam_nb.units import format_bytes, format_seconds

ARMS = [f"{target}{option}@{runner}" for target, runners in RUNNERS_OF.items() for runner in runners
        for flavour in ([f"+{f}" for f in FLAVOURS] if target == "oci" else [""])
        for option in (flavour, *(f"{flavour}+{extra}" for extra in OPTIONS_OF[target]
                                   if runner in ONLY_ON.get(extra, RUNNERS)))]


@pytest.mark.parametrize("text", ARMS)
def test_an_arm_reads_back_as_it_was_written(text: str) -> None:
    assert str(Arm.parse(text)) == text


def test_an_option_is_refused_on_a_runner_that_has_it_not() -> None:
    with pytest.raises(UsageError) as caught:
        Arm.parse("linux+lean+tiny@uml")
    assert (caught.value.message, caught.value.hint) == ("uml has no option 'tiny'.",
                                                         "It is for qemu, firecracker only.")


def test_options_are_written_in_one_order_and_a_flavour_comes_first() -> None:
    arm = Arm.parse("oci+lean+slim@crun")
    assert (str(arm), arm.flavour, arm.extras) == ("oci+slim+lean@crun", "slim", ("lean",))
    assert str(Arm.parse("oci+lean@podman")) == "oci+scratch+lean@podman"


def test_a_container_without_flavour_is_the_scratch_one() -> None:
    assert str(Arm.parse("oci@crun")) == "oci+scratch@crun"


@pytest.mark.parametrize(("text", "message", "hint"), [
    ("linux", "'linux' is not an arm.",
     "Write target[+option...]@runner, for example linux@qemu, oci+slim@podman or release@process."),
    ("minix@qemu", "'minix@qemu' names the unknown target 'minix'.", "The targets are linux, disk, osv, oci, release."),
    ("linux@vmware", "'linux@vmware' names the unknown runner 'vmware'.",
     "The runners are qemu, uml, xen, firecracker, podman, docker, crun, runc, runsc, process."),
    ("linux@podman", "podman cannot run a linux image.", "linux runs on qemu, uml, xen, firecracker."),
    ("oci+huge@podman", "'oci+huge@podman' has the unknown option 'huge'.",
     f"Options of oci are {', '.join(options_of('oci'))}."),
    ("linux+slim@qemu", "'linux+slim@qemu' has the unknown option 'slim'.",
     f"Options of linux are {', '.join(options_of('linux'))}."),
    ("release+slim@process", "'release+slim@process' has the unknown option 'slim'.",
     f"Options of release are {', '.join(options_of('release'))}."),
    ("oci+slim+scratch@podman", "'oci+slim+scratch@podman' has more than one flavour.",
     f"Choose one of {', '.join(FLAVOURS)}."),
])
def test_what_is_not_an_arm_is_explained(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Arm.parse(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@given(st.text(max_size=30))
def test_any_text_is_an_arm_or_a_usage_error(text: str) -> None:
    try:
        arm = Arm.parse(text)
    except UsageError:
        return
    assert Arm.parse(str(arm)) == arm


@pytest.mark.parametrize(("text", "probe"), [
    ("/", Probe(8080)), ("/x?y", Probe(8080, "http", "/x?y")), ("81/", Probe(81)),
    ("https:8443/", Probe(8443, "https")), ("tcp:5672", Probe(5672, "tcp")), ("https:/", Probe(8080, "https")),
])
def test_a_probe_is_read(text: str, probe: Probe) -> None:
    assert Probe.parse(text, (8080, 9)) == probe


def test_a_probe_without_a_port_says_how_to_give_one() -> None:
    with pytest.raises(UsageError) as caught:
        Probe.parse("/", ())
    assert str(caught.value) == ("It is not known which port to ask.\n"
                                 "  Hint: Build with --port 8080, or write 8080/ instead of /.")


def test_a_launch_puts_root_and_state_where_they_are() -> None:
    launch = Launch("erts-1", ("+S", "1"), ("-boot", "{root}/x"), (("D", "{state}/d"),))
    assert launch.argv("/r", "/s") == ("/r/erts-1/bin/erlexec", "+S", "1", "-boot", "/r/x")
    env = launch.env("/r", "/s")
    assert (env["ROOTDIR"], env["BINDIR"], env["HOME"], env["D"]) == ("/r", "/r/erts-1/bin", "/s", "/s/d")


def test_a_mark_is_found_behind_other_output_on_its_line() -> None:
    found = MARK_LINE.search("half a line@unibeam 0123456789abcdef app 1234567 memory=99")
    assert found
    assert found.groups() == ("0123456789abcdef", "app", "1234567", " memory=99")


@given(st.builds(Sample, arm=st.text(), block=st.integers(0, 9), order=st.integers(0, 99), warmup=st.booleans(),
                 ok=st.booleans(), started=st.text(), marks=st.dictionaries(st.text(), st.floats(0, 1e6)),
                 memory=st.none() | st.builds(Memory, st.integers(0), st.integers(0)),
                 parts=st.lists(st.builds(Part, st.text(), st.integers(0))).map(tuple)))
def test_a_sample_survives_json(sample: Sample) -> None:
    assert from_json(Sample, to_json(sample)) == sample


def test_json_that_does_not_fit_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="order"):
        from_json(Sample, {"arm": "a", "block": 1})


@pytest.mark.parametrize(("count", "text"), [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (123_456_789, "123 MB"),
    (2_500_000_000, "2.50 GB")])
def test_sizes_are_decimal(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.1837, "184 ms"), (3.417, "3.42 s"), (125.4, "2 min 05 s")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
