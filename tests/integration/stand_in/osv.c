/*
 * A stand-in for OSv's kernel, which cannot be shipped: entered by PVH as OSv is, it takes the command line apart by
 * OSv's rules, finds the root by OSv's rules on a virtio disk, reads every file of its ROFS, and tells on the serial
 * line what it met. It is no operating system: it runs nothing, and says the marks of a boot itself.
 *
 * What it tells, a line each:
 *     stand-in option WORD      each option before the program, quoting taken away
 *     stand-in word WORD        the program and its arguments
 *     stand-in file HASH BYTES PATH     each file; HASH is FNV-1a, 32 bits, of its bytes
 *     stand-in link TARGET PATH, stand-in directory PATH
 * and "Assertion failed: WHY" where OSv would fail, after which it hangs as OSv does.
 *
 * Compiled as 32-bit code in a 64-bit ELF file (see __init__.py). No library is linked: no 64-bit division in here.
 *
 * Sources: xen/include/public/arch-x86/hvm/start_info.h; virtio 1.1, chapter 4.1.4.8 (legacy interface) and 5.2;
 * PCI Local Bus 3.0, chapter 3.2.2.3.2 (configuration by ports); formats/rofs.py and formats/mbr.py.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SERIAL 0x3f8
#define SECTOR 512
#define CHUNK (64 * 1024)
#define QUEUE_LONGEST 1024

struct start_info { u32 magic, version, flags, modules; u64 module_list, command_line, rsdp; };
struct descriptor { u64 address; u32 length; u16 flags, next; } __attribute__((packed));
struct inode { u64 mode, number, offset, count; };

static u8 queue_memory[64 * 1024] __attribute__((aligned(4096)));
static u8 structure[4 * 1024 * 1024], chunk[CHUNK], sector[SECTOR];
static char words[64 * 1024];
static u16 disk_port, queue_size;
static u32 root_sector, directory_count, link_count, inode_count;
static const u8 *directories, *links, *inodes;

const char marks_of_osv[] = "OSv rofs\0v0.0.0-0-g57a4d14\0";

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static u8 in8(u16 port) { u8 value; __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static u16 in16(u16 port) { u16 value; __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static u32 in32(u16 port) { u32 value; __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port)); return value; }

void *memcpy(void *to, const void *from, unsigned long size)
{
	for (unsigned long i = 0; i < size; i++)
		((u8 *)to)[i] = ((const u8 *)from)[i];
	return to;
}

static void say_character(char character)
{
	while (!(in8(SERIAL + 5) & 0x20))
		;
	out8(SERIAL, character);
}

static void say(const char *text)
{
	for (; *text; text++)
		say_character(*text);
}

static void say_bytes(const u8 *text, u32 size)
{
	for (u32 i = 0; i < size; i++)
		say_character(text[i]);
}

static void say_number(u32 value, u32 base)
{
	char digits[12], *at = digits + sizeof(digits);

	*--at = 0;
	do
		*--at = "0123456789abcdef"[value % base];
	while (value /= base);
	say(at);
}

static void rest(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void assert(int holds, const char *why)
{
	if (holds)
		return;
	say("Assertion failed: ");
	say(why);
	say(" (stand_in: main: 1)\n\n[backtrace]\n");
	rest();
}

static u32 pci(u32 slot, u32 offset)
{
	out32(0xcf8, 0x80000000 | slot << 11 | offset);
	return in32(0xcfc);
}

static void find_disk(void)
{
	u32 slot = 0, frame;

	while (slot < 32 && pci(slot, 0) != 0x10011af4)
		slot++;
	assert(slot < 32, "there is no virtio disk");
	disk_port = pci(slot, 0x10) & 0xfffc;
	/* I/O space and bus mastering. */
	out32(0xcf8, 0x80000000 | slot << 11 | 4);
	out16(0xcfc, 5);
	out8(disk_port + 18, 0);
	out8(disk_port + 18, 1);
	out8(disk_port + 18, 3);
	out32(disk_port + 4, 0);
	out16(disk_port + 14, 0);
	queue_size = in16(disk_port + 12);
	assert(queue_size && queue_size <= QUEUE_LONGEST, "the disk's queue has no usual size");
	frame = (u32)queue_memory;
	out32(disk_port + 8, frame >> 12);
	out8(disk_port + 18, 7);
}

/* Reads whole sectors. One request at a time, and its end is waited for by looking. */
static void read_sectors(u32 first, void *to, u32 size)
{
	static u16 sent;
	static struct { u32 type, priority; u64 sector; } request;
	static volatile u8 status;
	struct descriptor *table = (void *)queue_memory;
	volatile u16 *available = (void *)(queue_memory + 16 * queue_size);
	u32 used_at = (16 * queue_size + 6 + 2 * queue_size + 4095) & ~4095u;
	volatile u16 *used = (void *)(queue_memory + used_at);

	request.type = 0;
	request.sector = first;
	status = 255;
	table[0] = (struct descriptor){(u32)&request, 16, 1, 1};
	table[1] = (struct descriptor){(u32)to, size, 3, 2};
	table[2] = (struct descriptor){(u32)&status, 1, 2, 0};
	available[2 + sent % queue_size] = 0;
	sent++;
	__asm__ volatile("" ::: "memory");
	available[1] = sent;
	out16(disk_port + 16, 0);
	while (used[1] != sent)
		__asm__ volatile("pause" ::: "memory");
	assert(status == 0, "the disk cannot be read");
}

static u64 number_at(const u8 *from)
{
	u64 value;

	memcpy(&value, from, 8);
	return value;
}

/* The partition that OSv calls /dev/vblk0.1, and the structure of the file system in it. */
static void find_root(void)
{
	const u8 *entry = sector + 0x1be + 16;
	u64 head[8];
	u32 blocks, at = 0;

	read_sectors(0, sector, SECTOR);
	assert(sector[0x1fe] == 0x55 && sector[0x1ff] == 0xaa, "the disk has no boot record");
	assert(entry[4] && (entry[2] & 0x3f), "the disk has no second partition");
	memcpy(&root_sector, entry + 8, 4);
	read_sectors(root_sector, sector, SECTOR);
	for (int i = 0; i < 8; i++)
		head[i] = number_at(sector + 8 * i);
	assert(head[0] == 0xdeadbeadu && head[1] == 1 && head[2] == SECTOR, "the root is not ROFS");
	blocks = head[4];
	assert(blocks * SECTOR <= sizeof(structure), "the structure is larger than this reads");
	for (u32 done = 0; done < blocks; done += CHUNK / SECTOR) {
		u32 left = blocks - done < CHUNK / SECTOR ? blocks - done : CHUNK / SECTOR;
		read_sectors(root_sector + (u32)head[3] + done, structure + done * SECTOR, left * SECTOR);
	}
	directory_count = head[5];
	link_count = head[6];
	inode_count = head[7];
	directories = structure;
	for (u32 i = 0; i < directory_count; i++)
		at += 10 + structure[at + 8] + structure[at + 9] * 256;
	links = structure + at;
	for (u32 i = 0; i < link_count; i++)
		at += 2 + structure[at] + structure[at + 1] * 256;
	inodes = structure + at;
}

static struct inode inode_of(u32 number)
{
	struct inode found;

	assert(number >= 1 && number <= inode_count, "an inode is not there");
	memcpy(&found, inodes + 32 * (number - 1), sizeof(found));
	assert(found.number == number, "an inode is not in its place");
	return found;
}

static u32 hash_of(const struct inode *file)
{
	u32 hash = 2166136261u, size = file->count;

	for (u32 done = 0; done < size; done += CHUNK) {
		u32 left = size - done < CHUNK ? size - done : CHUNK;
		read_sectors(root_sector + (u32)file->offset + done / SECTOR, chunk, (left + SECTOR - 1) & ~(SECTOR - 1u));
		for (u32 i = 0; i < left; i++)
			hash = (hash ^ chunk[i]) * 16777619u;
	}
	return hash;
}

/* Tells everything below a directory; `path` has room for what follows it. */
static void tell(u32 number, char *path, u32 length)
{
	struct inode directory = inode_of(number);
	const u8 *entry = directories;

	for (u32 i = 0; i < (u32)directory.offset; i++)
		entry += 10 + entry[8] + entry[9] * 256;
	for (u32 i = 0; i < (u32)directory.count; i++) {
		u32 size = entry[8] + entry[9] * 256;
		struct inode child = inode_of(number_at(entry));

		assert(length + size < 1000, "a path is too long");
		path[length] = '/';
		memcpy(path + length + 1, entry + 10, size);
		path[length + 1 + size] = 0;
		if (child.mode == 0x4000) {
			say("stand-in directory ");
		} else if (child.mode == 0xa000) {
			const u8 *link = links;
			for (u32 skip = 0; skip < (u32)child.offset; skip++)
				link += 2 + link[0] + link[1] * 256;
			say("stand-in link ");
			say_bytes(link + 2, link[0] + link[1] * 256);
			say(" ");
		} else {
			assert(child.mode == 0x8000, "an inode is of no kind");
			say("stand-in file ");
			say_number(hash_of(&child), 16);
			say(" ");
			say_number(child.count, 10);
			say(" ");
		}
		say(path);
		say("\n");
		if (child.mode == 0x4000)
			tell(child.number, path, length + 1 + size);
		entry += 10 + size;
	}
	path[length] = 0;
}

static int begins(const char *text, const char *with)
{
	while (*with)
		if (*text++ != *with++)
			return 0;
	return 1;
}

/* Tells the words of the command line; returns the boot's nonce, or an empty text. */
static const char *tell_words(const char *line, int *fails)
{
	char *to = words, *nonce = "";
	int options = 1;

	while (*line) {
		char *word = to;
		int quoted = 0;

		while (*line == ' ')
			line++;
		if (!*line)
			break;
		if (options && *line != '-')
			options = 0;
		for (; *line && (quoted || *line != ' '); line++) {
			if (options ? *line == '\\' : quoted && *line == '\\' && (line[1] == '"' || line[1] == '\\'))
				*to++ = *++line;
			else if (!options && *line == '"')
				quoted = !quoted;
			else
				*to++ = *line;
		}
		*to++ = 0;
		say(options ? "stand-in option " : "stand-in word ");
		say(word);
		say("\n");
		if (options && begins(word, "--env=UNIBEAM_NONCE="))
			nonce = word + 20;
		if (options && begins(word, "--env=STAND_IN=fail"))
			*fails = 1;
	}
	return nonce;
}

static void say_mark(const char *nonce, const char *name)
{
	say("@unibeam ");
	say(nonce);
	say(" ");
	say(name);
	say(" 1\n");
}

void enter(const struct start_info *info)
{
	static char path[1100];
	const char *nonce;
	int fails = 0;

	out8(SERIAL + 1, 0);
	say("OSv v0.0.0-0-g57a4d14\n");
	assert(info->magic == 0x336ec578, "it was not entered by PVH");
	nonce = tell_words((const char *)(u32)info->command_line, &fails);
	find_disk();
	find_root();
	tell(1, path, 0);
	assert(!fails, "it was asked to fail");
	say_mark(nonce, "beam");
	say_mark(nonce, "app");
	rest();
}

__asm__(".section .note.Xen, \"a\", @note\n"
	".long 4, 4, 18\n.asciz \"Xen\"\n.long start\n"
	".section .text.start, \"ax\"\n.global start\n"
	"start: mov $stack_top, %esp\n push %ebx\n call enter\n"
	".section .bss\n.align 16\n.skip 65536\nstack_top:\n"
	".text\n");
