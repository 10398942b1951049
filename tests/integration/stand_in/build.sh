#!/bin/sh
# build.sh KERNEL: compile osv.c as a kernel: 32-bit code, which is what PVH enters, in a 64-bit ELF file, which OSv's is.
# build.sh --loader KERNEL: the same kernel behind a boot sector, with the layout of OSv's loader.img.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
unit=32768
loader=
if [ "$1" = --loader ]; then
    loader=yes
    shift
fi
gcc -m32 -O2 -Wall -Werror -ffreestanding -fno-pic -fno-stack-protector -mno-sse -mno-mmx \
    -fno-tree-loop-distribute-patterns -c "$here/osv.c" -o "$1.o"
ld -m elf_i386 -T "$here/osv.ld" -o "$1.elf32" "$1.o"
objcopy -I elf32-i386 -O elf64-x86-64 "$1.elf32" "$1"
if [ "$loader" ]; then
    mv "$1" "$1.elf"
    units=$((($(stat -c %s "$1.elf") + unit - 1) / unit))
    gcc -m32 -DUNITS="$units" -c "$here/boot.S" -o "$1.o"
    ld -m elf_i386 -Ttext 0x7c00 --oformat binary -e 0x7c00 -o "$1" "$1.o"
    dd if="$1.elf" of="$1" bs=512 seek=128 conv=notrunc status=none
    rm "$1.elf"
fi
rm "$1.o" "$1.elf32"
