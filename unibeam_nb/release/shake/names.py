"""Which applications are OTP's and Elixir's own. Data."""

from __future__ import annotations

TRIMMED = frozenset({
    "asn1", "compiler", "crypto", "diameter", "eldap", "erts", "eunit", "ftp", "inets", "kernel", "megaco", "mnesia",
    "observer", "odbc", "os_mon", "parsetools", "public_key", "reltool", "runtime_tools", "sasl", "snmp", "ssh", "ssl",
    "stdlib", "syntax_tools", "tftp", "tools", "wx", "xmerl", "eex", "elixir", "ex_unit", "iex", "logger", "mix",
    "unibeam_agent"})
"""Applications whose modules and functions may be left out. All others are the program's own, or libraries that it
chose; they are kept whole."""

ALONE = frozenset({"asn1", "compiler", "crypto", "eex", "elixir", "inets", "kernel", "logger", "public_key", "sasl",
                   "ssl", "stdlib", "unibeam_agent", "xmerl"})
"""Applications that start and run without a distribution beside them, unless the program itself wants it."""

DISTRIBUTION = frozenset({
    "erl_distribution", "erpc", "global", "global_group", "net_adm", "net_kernel", "peer", "pg", "pool", "rpc", "slave",
    "Elixir.Node"})
"""Modules that tell, where a program names one, that it may speak to other nodes or register names among them."""

STARTED_FOR_OTHERS = frozenset({"erl_distribution", "erpc", "global", "global_group", "net_kernel", "rpc"})
"""What kernel starts with distribution and not without."""
