/* SPDX-License-Identifier: Apache-2.0 */
/* entry.S: from the PVH entry (32 bits, no paging; xen/include/public/arch-x86/hvm/start_info.h)
 * to C in 64-bit mode.
 *
 * No page is both writable and executable, the page below the stack is not there, nor is page 0
 * once start_guest has read what the firmware left in it.
 * The first 2 MB, which hold the image, are mapped by 4 KB pages, the rest of RAM by 2 MB ones,
 * the devices' last GB of the first 4 uncached. */

#define PRESENT	 1
#define WRITABLE 2
#define UNCACHED 0x10
#define LARGE	 0x80
#define NO_EXEC_HIGH 0x80000000 /* bit 63 of an entry, in its high half */

#define CR0_PE_WP_PG 0x80010001
#define CR4_PAE	     0x20
#define MSR_EFER     0xc0000080
#define EFER_LME_NXE 0x900

#define SECOND_MB 0x100000
#define RAM_LARGE_PAGES 32 /* 64 MB */

	.section .note.Xen, "a", @note
	.balign 4
	.long	4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.quad	_start

	.section .text.entry, "ax", @progbits
	.code32
	.globl	_start
_start:
	cli
	cld
	mov	$stack_top, %esp
	mov	%ebx, %ebp

	/* the image's 4 KB pages: entry %ecx of the table */
	xor	%ecx, %ecx
1:	mov	%ecx, %eax
	shl	$12, %eax
	xor	%edx, %edx		/* edx:ebx: what is allowed */
	xor	%ebx, %ebx
	cmp	$SECOND_MB, %eax
	jb	read_only		/* what the firmware left for us */
	cmp	$__text_end, %eax
	jb	executable
	cmp	$__rodata_end, %eax
	jb	read_only
	cmp	$stack_guard, %eax
	je	3f
	mov	$NO_EXEC_HIGH, %edx
	mov	$(PRESENT | WRITABLE), %ebx
	jmp	3f
executable:
	mov	$PRESENT, %ebx
	jmp	3f
read_only:
	mov	$NO_EXEC_HIGH, %edx
	mov	$PRESENT, %ebx
3:	or	%ebx, %eax
	mov	%eax, page_table(, %ecx, 8)
	mov	%edx, page_table + 4(, %ecx, 8)
	inc	%ecx
	cmp	$512, %ecx
	jne	1b

	/* 2 MB pages: the first is the table above */
	movl	$(page_table + PRESENT + WRITABLE), low_directory
	mov	$1, %ecx
4:	mov	%ecx, %eax
	shl	$21, %eax
	or	$(PRESENT | WRITABLE | LARGE), %eax
	mov	%eax, low_directory(, %ecx, 8)
	movl	$NO_EXEC_HIGH, low_directory + 4(, %ecx, 8)
	inc	%ecx
	cmp	$RAM_LARGE_PAGES, %ecx
	jne	4b

	xor	%ecx, %ecx
5:	mov	%ecx, %eax
	shl	$21, %eax
	add	$(0xc0000000 + PRESENT + WRITABLE + LARGE + UNCACHED), %eax
	mov	%eax, device_directory(, %ecx, 8)
	movl	$NO_EXEC_HIGH, device_directory + 4(, %ecx, 8)
	inc	%ecx
	cmp	$512, %ecx
	jne	5b

	movl	$(low_directory + PRESENT + WRITABLE), directory_pointers
	movl	$(device_directory + PRESENT + WRITABLE), directory_pointers + 3 * 8
	movl	$(directory_pointers + PRESENT + WRITABLE), root_table

	mov	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$root_table, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$EFER_LME_NXE, %eax
	wrmsr
	mov	$CR0_PE_WP_PG, %eax
	mov	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$8, $enter_64

	.code64
enter_64:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%ebp, %edi
	xor	%ebp, %ebp		/* where a backtrace ends */
	call	start_guest
	ud2

/* -- interrupts ------------------------------------------------------------------------------ */

	.text
/* Vectors 8, 10 to 14, 17, 21, 29 and 30 come with an error code; the others get a 0. */
#define WITH_CODE 0x60227d00

	.altmacro
	.macro	vector number
	.balign	16
	.if	\number >= 32 || !((WITH_CODE >> \number) & 1)
	push	$0
	.endif
	push	$\number
	jmp	save_registers
	.endm

	.balign	16
	.globl	vectors
vectors:
	.set	number, 0
	.rept	64
	vector	%number
	.set	number, number + 1
	.endr

save_registers:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	cld
	mov	%rsp, %rdi
	call	on_interrupt
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq

	.section .rodata
	.balign	8
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* code, 64 bits */
	.quad	0x00cf93000000ffff	/* data */
gdt_end:
	.balign	4
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt

	.section .bss.pages, "aw", @nobits
	.balign	4096
root_table:	    .skip 4096
directory_pointers: .skip 4096
low_directory:	    .skip 4096
device_directory:   .skip 4096
	.globl	page_table
page_table:	    .skip 4096
stack_guard:	    .skip 4096
		    .skip 16384
stack_top:

	.section .note.GNU-stack, "", @progbits
