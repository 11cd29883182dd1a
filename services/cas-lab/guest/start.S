/* Entry and system call of the guest program, which is linked against no library. x86-64, Linux. */
.text
.globl _start
_start:
	mov %rsp, %rdi
	and $-16, %rsp
	call guest_main
	mov %eax, %edi
	mov $60, %eax
	syscall

/* long sys(long number, long a, long b, long c, long d, long e) */
.globl sys
sys:
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %r10
	mov %r9, %r8
	syscall
	ret
