"""The smallest Linux guest that proves something: an initramfs with a console and a PID 1 of some 250 bytes.

PID 1 is written here as machine code, so that the proof needs no compiler: it writes one line, the mark
``init`` with this boot's nonce, and switches the machine off. Pure.
"""

from __future__ import annotations

import struct

from unibeam_nb.image.formats import cpio
from unibeam_nb.image.tree import device, directory, file

_BASE = 0x400000
_HEADERS = 64 + 56

# x86-64 system calls (arch/x86/entry/syscalls/syscall_64.tbl): 1 write, 169 reboot. The latter takes two magic numbers
# and LINUX_REBOOT_CMD_POWER_OFF (include/uapi/linux/reboot.h).
_CODE = (b"\xb8\x01\x00\x00\x00"          # mov eax, 1
         b"\xbf\x01\x00\x00\x00"          # mov edi, 1 (standard output: the console)
         b"\x48\x8d\x35%(text)b"          # lea rsi, [rip + text]
         b"\xba%(size)b"                  # mov edx, size
         b"\x0f\x05"                      # syscall
         b"\xb8\xa9\x00\x00\x00"          # mov eax, 169
         b"\xbf\xad\xde\xe1\xfe"          # mov edi, 0xfee1dead
         b"\xbe\x69\x19\x12\x28"          # mov esi, 0x28121969
         b"\xba\xdc\xfe\x21\x43"          # mov edx, 0x4321fedc
         b"\x0f\x05"                      # syscall
         b"\xeb\xfe")                     # jmp to itself: PID 1 must not end
_AFTER_LEA = 17


def program(text: bytes) -> bytes:
    """A static x86-64 executable (ELF-64, System V ABI) that writes ``text`` and switches the machine off."""
    length = len(_CODE % {b"text": bytes(4), b"size": bytes(4)})
    code = _CODE % {b"text": struct.pack("<i", length - _AFTER_LEA), b"size": struct.pack("<I", len(text))}
    size = _HEADERS + len(code) + len(text)
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 2, 62, 1, _BASE + _HEADERS, 64, 0, 0,
                         64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code + text


def initramfs(nonce: str) -> bytes:
    """An initramfs whose PID 1 prints the mark ``init`` with this nonce. The mark's clock is zero: nobody reads it."""
    line = f"\r\n@unibeam {nonce} init 0\r\n".encode()
    return b"".join(cpio.write([directory("dev"), device("dev/console", 5, 1, 0o600),
                                file("init", program(line), 0o755)]))
