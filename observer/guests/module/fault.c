// SPDX-License-Identifier: GPL-2.0
/*
 * Breaks the guest that it is loaded into, on a word written to /proc/fault.
 *
 * The host must know the moment of the effect to a few microseconds, and a guest about to die
 * cannot be asked afterwards. So the answer is written to the second serial port by the CPU that
 * dies, with its interrupts off, and the line's end leaves as its last act: QEMU has put it into
 * the host's socket before the instruction after it runs. A guest that loses a kick or a call marks
 * that port's scratch register.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/serial_reg.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>

enum { COM2 = 0x2f8, WORD_MAX = 32, KICK_WITHIN_MS = 8000 };

static atomic_t others_gone;

static void tell(char c)
{
	while (!(inb(COM2 + UART_LSR) & UART_LSR_THRE))
		cpu_relax();
	outb(c, COM2 + UART_TX);
}

static void announce(const char *word)
{
	tell('o');
	tell('k');
	tell(' ');
	while (*word)
		tell(*word++);
}

/* A loop that makes no exit of its own: only the host's own interrupts leave the guest. */
static void spin(void *unused)
{
	local_irq_disable();
	atomic_inc(&others_gone);
	for (;;)
		barrier();
}

/* As a deadlocked spinlock waits; a CPU with pause filtering leaves the guest now and then. */
static void pause_spin(void *unused)
{
	local_irq_disable();
	atomic_inc(&others_gone);
	for (;;)
		cpu_relax();
}

static void halt_for_good(void *unused)
{
	local_irq_disable();
	atomic_inc(&others_gone);
	for (;;)
		asm volatile("hlt");
}

static void told_spin(void *unused)
{
	local_irq_disable();
	tell('\n');
	spin(NULL);
}

/* All other CPUs first, then the line's end, then this CPU: the answer means that none is left. */
static void everywhere(const char *word, smp_call_func_t die)
{
	announce(word);
	preempt_disable();
	smp_call_function(die, NULL, 0);
	while (atomic_read(&others_gone) < num_online_cpus() - 1)
		cpu_relax();
	local_irq_disable();
	tell('\n');
	die(NULL);
}

static int lock_up(const char *word, unsigned int cpu)
{
	if (cpu >= nr_cpu_ids || !cpu_online(cpu))
		return -ENODEV;
	announce(word);
	return smp_call_function_single(cpu, told_spin, NULL, 0);
}

/* Stands in for a function that is to do nothing once; its caller takes this for success. */
static noinline notrace long did_nothing(void)
{
	BUILD_BUG_ON(IRQ_HANDLED != true);
	return true;
}

static atomic_t kick_to_lose, call_to_lose;

/* The host's trace of the write to a register that nobody reads is the moment of the loss. */
static bool loses(struct virtqueue *vq, const char *ring, atomic_t *one)
{
	if (strncmp(vq->name, ring, strlen(ring)) || atomic_cmpxchg(one, 1, 0) != 1)
		return false;
	outb(1, COM2 + UART_SCR);
	return true;
}

/* vp_notify(vq) writes the doorbell. */
static int on_kick(struct kprobe *probe, struct pt_regs *regs)
{
	if (!loses((struct virtqueue *)regs->di, "output", &kick_to_lose))
		return 0;
	regs->ip = (unsigned long)did_nothing;
	return 1;
}

/* vring_interrupt(irq, vq) tells the driver. */
static int on_call(struct kprobe *probe, struct pt_regs *regs)
{
	if (!loses((struct virtqueue *)regs->si, "input", &call_to_lose))
		return 0;
	regs->ip = (unsigned long)did_nothing;
	return 1;
}

/* Without one a probe may be optimized, and its change of ip be lost. */
static void afterwards(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe kick_probe = {
	.symbol_name = "vp_notify",
	.pre_handler = on_kick,
	.post_handler = afterwards,
};
static struct kprobe call_probe = {
	.symbol_name = "vring_interrupt",
	.pre_handler = on_call,
	.post_handler = afterwards,
};

/* Only the first order sets the probe: until then the guest is as it always was. */
static int lose_next(struct kprobe *probe, atomic_t *one)
{
	int err = probe->addr ? 0 : register_kprobe(probe);

	if (!err)
		atomic_set(one, 1);
	return err;
}

/* Whoever orders it while the guest sends knows by the answer that the kick was lost. */
static int lose_kick(void)
{
	int err = lose_next(&kick_probe, &kick_to_lose);

	for (unsigned int waited_ms = 0; !err && atomic_read(&kick_to_lose); waited_ms++) {
		if (waited_ms == KICK_WITHIN_MS)
			return atomic_cmpxchg(&kick_to_lose, 1, 0) ? -ETIMEDOUT : 0;
		msleep(1);
	}
	return err;
}

static int obey(const char *word)
{
	unsigned int cpu;

	if (!strcmp(word, "lost-kick"))
		return lose_kick();
	if (!strcmp(word, "lost-call"))
		return lose_next(&call_probe, &call_to_lose);

	if (!strcmp(word, "irqoff-spin"))
		everywhere(word, spin);
	else if (!strcmp(word, "pause-spin"))
		everywhere(word, pause_spin);
	else if (!strcmp(word, "halt"))
		everywhere(word, halt_for_good);
	else if (sscanf(word, "lockup %u", &cpu) == 1)
		return lock_up(word, cpu);
	else if (strcmp(word, "panic"))
		return -EINVAL;
	announce(word);
	tell('\n');
	panic("told to by the control port");
}

static ssize_t fault_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	char word[WORD_MAX] = {};
	int err;

	if (count >= sizeof(word))
		return -EINVAL;
	if (copy_from_user(word, from, count))
		return -EFAULT;
	err = obey(strim(word));
	return err ? err : count;
}

static const struct proc_ops fault_ops = { .proc_write = fault_write };

static int __init fault_init(void)
{
	return proc_create("fault", 0200, NULL, &fault_ops) ? 0 : -ENOMEM;
}
module_init(fault_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Breaks the guest that it is loaded into, on demand");
