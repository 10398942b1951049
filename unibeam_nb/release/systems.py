"""OTP systems that a distribution installs without a runtime of their own, and how each is started. Data.

A distribution starts such a system through shell scripts. Here the scripts' decisions are written down:
what is started, which variables say where it may write, what tells that it is up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.release.otp import app_dirs


@dataclass(frozen=True)
class System:
    """An installed system: recognised by the OTP application ``application``.

    ``base`` are applications that the boot script starts before it, ``undeclared`` ones that it starts itself
    without naming them in its ``.app`` file. ``start`` are emulator arguments that start it; ``wait`` is the
    module and function that return when it is up, then perhaps module, function and argument of something
    to call after that. ``port_variable`` is the environment variable in which it looks for the port to
    serve, ``plugins_variable`` the one that lists plugins to enable.
    """

    application: str
    title: str
    ports: tuple[int, ...]
    base: tuple[str, ...]
    undeclared: tuple[str, ...]
    start: tuple[str, ...]
    flags: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    wait: tuple[str, ...]
    port_variable: str
    plugins_variable: str


# After sbin/rabbitmq-server, rabbitmq-env and rabbitmq-defaults of RabbitMQ 3.10, and the module rabbit_env.
#
# The node has its name before rabbit starts, or rabbit would start a port mapper daemon. It asks erl_epmd for
# the node's port while it starts, which -erl_epmd_port answers without a port mapper (the number is only
# shown); and it has a process that starts the daemon anew every minute, which is stopped once rabbit is up.
# The name's host part is localhost, which resolves everywhere and keeps the database directory's name the
# same in every arm.
#
# The user guest may log in from outside the loopback device, because a machine's forwarded port comes from
# its gateway; the host side of such a port is bound to the loopback device. os_mon's helpers are programs
# and shell commands, which an image does not have. Memory in use is asked of the emulator's allocators: the usual
# way reads /proc/PID/status, which OSv has not.
RABBITMQ = System(
    application="rabbit",
    title="RabbitMQ",
    ports=(5672,),
    base=("sasl",),
    undeclared=("mnesia",),
    start=("-sname", "rabbit@localhost", "-erl_epmd_port", "25672", "-s", "rabbit", "boot",
           "-rabbit", "loopback_users", "[]", "-rabbit", "vm_memory_calculation_strategy", "allocated",
           "-os_mon", "start_cpu_sup", "false", "-os_mon", "start_disksup", "false", "-os_mon", "start_memsup", "false",
           "-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false",
           "-kernel", "prevent_overlapping_partitions", "false"),
    flags=("+W", "w", "+MBas", "ageffcbf", "+MHas", "ageffcbf", "+MBlmbcs", "512", "+MHlmbcs", "512", "+MMmcs", "30",
           "+P", "1048576", "+Q", "65536", "+t", "5000000", "+zdbbl", "128000"),
    environment=(
        ("RABBITMQ_NODENAME", "rabbit@localhost"),
        ("RABBITMQ_HOME", "{root}"),
        ("RABBITMQ_PLUGINS_DIR", "{root}/lib"),
        ("RABBITMQ_BASE", "{state}"),
        ("SYS_PREFIX", "{state}"),
        ("RABBITMQ_CONF_ENV_FILE", "{state}/rabbitmq-env.conf"),
        ("RABBITMQ_CONFIG_FILE", "{state}/rabbitmq"),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", "{state}/advanced"),
        ("RABBITMQ_GENERATED_CONFIG_DIR", "{state}/config"),
        ("RABBITMQ_SCHEMA_DIR", "{state}/schema"),
        ("RABBITMQ_MNESIA_BASE", "{state}/mnesia"),
        ("RABBITMQ_QUORUM_DIR", "{state}/quorum"),
        ("RABBITMQ_STREAM_DIR", "{state}/stream"),
        ("RABBITMQ_PLUGINS_EXPAND_DIR", "{state}/plugins-expand"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "{state}/enabled_plugins"),
        ("RABBITMQ_FEATURE_FLAGS_FILE", "{state}/feature_flags"),
        ("RABBITMQ_PID_FILE", "{state}/rabbitmq.pid"),
        ("RABBITMQ_LOG_BASE", "{state}/log"),
        ("RABBITMQ_LOGS", "-"),
        ("ERL_MAX_ETS_TABLES", "50000"),
    ),
    wait=("rabbit", "await_startup", "rabbit_sup", "stop_child", "rabbit_epmd_monitor_sup"),
    port_variable="RABBITMQ_NODE_PORT",
    plugins_variable="RABBITMQ_ENABLED_PLUGINS",
)

SYSTEMS = (RABBITMQ,)


def installed_apps(root: Path) -> dict[str, Path]:
    """The applications of an installed system: ``plugins/*/ebin`` and ``lib/*/ebin``, also one directory
    further down (``/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8``). Empty when there are none."""
    found: dict[str, Path] = {}
    for base in (root, *sorted(root.glob("lib/*"))):
        for kind in ("lib", "plugins"):
            found |= app_dirs(base / kind)
    return found


def known_system(apps: Mapping[str, Path]) -> System | None:
    """The system that these applications are, if it is a known one."""
    return next((system for system in SYSTEMS if system.application in apps), None)
