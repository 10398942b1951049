/*
 * A boot sector for the stand-in, as loader.img has one: read by a BIOS from a disk that formats/mbr.py laid out, it takes
 * the command line from block 1 and the kernel, UNITS times 32 KiB, from block 128, and enters the kernel as PVH would.
 * What the layout must keep is in it: the number of units at byte 16, and no code behind byte 446.
 *
 * Sources: BIOS Enhanced Disk Drive Specification 1.1 (int 0x13, ah=0x42); ELF-64, elf(5); PVH as in osv.c.
 */
LINE = 0x7e00
KERNEL = 0x10000
ENTRY = KERNEL + 24
SEGMENT = KERNEL + 64
UNIT_BLOCKS = 64

	.code16
	ljmp $0, $begin
	.org 0x10
units:	.word UNITS
line:	.word 16, 63, LINE, 0
	.quad 1
unit:	.word 16, UNIT_BLOCKS, 0, KERNEL / 16
	.quad 128
descriptors:
	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
table:	.word . - descriptors - 1
	.long descriptors
start_info:
	.long 0x336ec578, 0, 0, 0
	.quad 0, LINE, 0

read:	mov $0x42, %ah
	int $0x13
	jc .
	ret

begin:	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7c00, %sp
	mov $line, %si
	call read
	mov $unit, %si
1:	call read
	addw $UNIT_BLOCKS, unit + 8
	addw $UNIT_BLOCKS * 512 / 16, unit + 6
	decw units
	jnz 1b

	cli
	lgdt table
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmp $8, $flat
	.code32
flat:	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov SEGMENT + 8, %esi
	add $KERNEL, %esi
	mov SEGMENT + 16, %edi
	mov SEGMENT + 32, %ecx
	rep movsb
	mov SEGMENT + 40, %ecx
	sub SEGMENT + 32, %ecx
	xor %eax, %eax
	rep stosb
	mov $start_info, %ebx
	jmp *ENTRY

	.org 0x1be
	.fill 64
	.byte 0x55, 0xaa
