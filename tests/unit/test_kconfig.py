"""Fragments of a kernel's configuration are read, explained, and held against what the kernel made of them."""

from __future__ import annotations

import pytest

from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.image import tiny
from unibeam_nb.image.kconfig import OFF, Setting, declared, fitting, parse, refuse_lost, refuse_unknown

FRAGMENTS = sorted(path.stem for path in tiny.FRAGMENTS.glob("*.config"))


def test_a_fragment_is_read_with_the_reason_above_each_option() -> None:
    assert parse("# About this file.\n\n# Programs\n# are ELF files.\nCONFIG_BINFMT_ELF=y\n"
                 "# No screen.\n# CONFIG_VT is not set\nCONFIG_NR_CPUS=16\n"
                 '# A name.\nCONFIG_DEFAULT_HOSTNAME="beam.unibeam"\n') == (
        Setting("BINFMT_ELF", "y", "Programs are ELF files."), Setting("VT", OFF, "No screen."),
        Setting("NR_CPUS", "16"), Setting("DEFAULT_HOSTNAME", '"beam.unibeam"', "A name."))


def test_a_setting_is_written_as_kconfig_reads_it() -> None:
    assert [str(setting) for setting in parse("CONFIG_A=y\nCONFIG_B=n\n# CONFIG_C is not set\n")] == \
        ["CONFIG_A=y", "# CONFIG_B is not set", "# CONFIG_C is not set"]


@pytest.mark.parametrize("line", ["CONFIG_A", "CONFIG_A = y", "A=y", "CONFIG_A=", "config_a=y"])
def test_a_line_that_is_no_option_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(f"# First.\nCONFIG_B=y\n{line}\n", "my.config")
    assert str(caught.value) == (f"Line 3 of my.config is no kernel option: {line!r}.\n"
                                 "  Hint: Write CONFIG_NAME=y or '# CONFIG_NAME is not set'.")


def test_every_fragment_is_a_profile_an_option_or_the_base() -> None:
    assert set(FRAGMENTS) == {"base", *tiny.PROFILES, *tiny.OPTIONS}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_every_option_of_every_fragment_says_why_it_is_there(name: str) -> None:
    settings = parse((tiny.FRAGMENTS / f"{name}.config").read_text(), name)
    assert settings
    assert [setting.name for setting in settings if not setting.reason.rstrip(":,.")] == []
    assert len({setting.name for setting in settings}) == len(settings)


def test_the_options_of_a_kernel_are_those_its_kconfig_files_declare() -> None:
    texts = ["config NET\n\tbool \"Networking\"\n\nmenuconfig  INET\n", "\tconfig ZONE_DMA\nconfig FOO if\n"]
    assert declared(texts) == {"NET", "INET", "ZONE_DMA"}


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        refuse_unknown(parse("CONFIG_VIRTIO_NETT=y"), frozenset({"VIRTIO_NET", "SLUB"}), "6.1")
    assert str(caught.value) == ("Linux 6.1 has no option CONFIG_VIRTIO_NETT.\n"
                                 "  Hint: Did you mean CONFIG_VIRTIO_NET?")
    with pytest.raises(UsageError) as caught:
        refuse_unknown(parse("CONFIG_QQQ=y"), frozenset({"VIRTIO_NET"}), "6.1")
    assert caught.value.hint == "Leave it out, or use another kernel."


def test_switching_off_what_does_not_exist_is_no_mistake() -> None:
    refuse_unknown(parse("# CONFIG_SLUB_TINY is not set"), frozenset({"SLUB"}), "6.1")


@pytest.mark.parametrize(("version", "there"), [("6.1", True), ("6.1.176", True), ("5.15", True), ("6.2", False),
                                                ("6.12", False), ("7.0-rc1", False)])
def test_an_option_is_left_to_the_kernels_that_have_it(version: str, there: bool) -> None:
    settings = parse("# Linux <= 6.1: old.\nCONFIG_OLD=y\n\nCONFIG_NET=y\n")
    assert [setting.name for setting in fitting(settings, version)] == (["OLD"] if there else []) + ["NET"]


def test_the_choices_that_newer_kernels_took_away_are_not_asked_of_them() -> None:
    names = {version: {setting.name for setting in fitting(tiny.settings_of("boot", ()), version)}
             for version in ("6.1", "6.12")}
    assert names["6.1"] - names["6.12"] == {"RANDOM_TRUST_CPU", "RANDOM_TRUST_BOOTLOADER"}


@pytest.mark.parametrize(("asked", "final", "became"), [
    ("CONFIG_XEN_PVH=y", "# CONFIG_XEN_PVH is not set\n", "n"), ("CONFIG_XEN_PVH=y", "CONFIG_NET=y\n", "n"),
    ("# CONFIG_XEN_PVH is not set", "CONFIG_XEN_PVH=y\n", "y"), ("CONFIG_XEN_PVH=m", "CONFIG_XEN_PVH=y\n", "y")])
def test_an_option_that_the_kernel_drops_is_refused(asked: str, final: str, became: str) -> None:
    with pytest.raises(ImageError) as caught:
        refuse_lost(parse(asked), final)
    assert str(caught.value) == (
        f"The kernel's configuration does not take {asked}: it becomes {became}.\n"
        "  Hint: Another option decides it; look for what it depends on or is selected by, and set that too: "
        "--with CONFIG_NAME=y.")


def test_a_configuration_that_keeps_everything_is_taken() -> None:
    refuse_lost(parse('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="c d"'), 'CONFIG_A=y\nCONFIG_C="c d"\nCONFIG_D=y\n')
