#!/bin/sh
# build.sh KERNEL: compile osv.c as a kernel: 32-bit code, which is what PVH enters, in a 64-bit ELF file, which OSv's is.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
gcc -m32 -O2 -Wall -Werror -ffreestanding -fno-pic -fno-stack-protector -mno-sse -mno-mmx \
    -fno-tree-loop-distribute-patterns -c "$here/osv.c" -o "$1.o"
ld -m elf_i386 -T "$here/osv.ld" -o "$1.elf32" "$1.o"
objcopy -I elf32-i386 -O elf64-x86-64 "$1.elf32" "$1"
rm "$1.o" "$1.elf32"
