//go:build linux && cgo

package watcher

/*
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static struct sigaction ctw_before;
static uintptr_t ctw_begin, ctw_end; // this program's own code
static uintptr_t ctw_page;

#if defined(__x86_64__)
#define CTW_PC(c) ((uintptr_t)(c)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
#define CTW_PC(c) ((uintptr_t)(c)->uc_mcontext.pc)
#endif

#ifdef CTW_PC
static void ctw_bus(int sig, siginfo_t *info, void *context) {
	uintptr_t pc = CTW_PC((ucontext_t *)context);
	if (info->si_code == BUS_ADRERR && (pc < ctw_begin || pc >= ctw_end)) {
		int saved = errno;
		void *page = (void *)((uintptr_t)info->si_addr & ~(ctw_page - 1));
		void *zeros = mmap(page, ctw_page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		errno = saved;
		if (zeros == page)
			return;
	}
	if (ctw_before.sa_flags & SA_SIGINFO)
		ctw_before.sa_sigaction(sig, info, context);
	else
		sigaction(SIGBUS, &ctw_before, NULL); // and the signal comes again
}

static int ctw_find(struct dl_phdr_info *info, size_t size, void *data) {
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type == PT_LOAD && (p->p_flags & PF_X)) {
			ctw_begin = info->dlpi_addr + p->p_vaddr;
			ctw_end = ctw_begin + p->p_memsz;
		}
	}
	return 1; // the program itself comes first
}

static void ctw_install(void) {
	struct sigaction act = {.sa_sigaction = ctw_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	sigfillset(&act.sa_mask);
	ctw_page = (uintptr_t)sysconf(_SC_PAGESIZE);
	dl_iterate_phdr(ctw_find, NULL);
	if (ctw_end > 0 && sigaction(SIGBUS, NULL, &ctw_before) == 0)
		sigaction(SIGBUS, &act, NULL);
}
#else
static void ctw_install(void) {}
#endif

static void ctw_survive(void) {
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, ctw_install);
}
*/
import "C"

// surviveTruncation keeps the program alive when a journal file becomes shorter under libsystemd's hands. Journald cuts
// files off when it archives and when it vacuums them, and libsystemd, which maps them into memory, dies of SIGBUS then,
// with whatever program it is in (systemd issues 24320 and 33277). As in systemd's own programs the missing page is
// replaced by zeros, which libsystemd takes for a damaged file and leaves.
//
// A fault in this program's own code goes to Go's handler, as ever: the two are told apart by the program counter, as
// the documentation of os/signal has it for programs with cgo. The handler is the process's, and stays.
func surviveTruncation() { C.ctw_survive() }
