package main

import "github.com/ctwarden/ctwarden/internal/testkernel"

// table is a table to be: rows that can be compared with each other.
type table struct {
	title string
	rows  []row
}

// row is one line of a table.
type row struct {
	name string
	tool tool
	// busy has a busy loop run on every CPU.
	busy bool
	// spaces is the number of namespaces, each with the traffic; 0: one.
	spaces int
	// born is true where the namespaces are made when the tool runs, right before the traffic.
	born bool
	// start is what the kernel has at the beginning: a limit of 0 is 20,000, and 0 buckets are those that were found.
	start testkernel.Limits
	// before is the number of entries, of connections in use, in each namespace before the tool starts.
	before int
	send   shape
	// goal is nil for what is there to compare with.
	goal *goal
}

// tables lists all that is measured, but for the latencies.
func (b *bench) tables() []table {
	warden := b.warden
	return []table{
		{"300,000 new UDP flows at 100,000/s", []row{
			{name: "no tool", tool: none, send: steady()},
			{name: "ctwarden", tool: warden, send: steady(), goal: holds(flows).at(rate)},
			{name: "ctwarden, busy loops on all CPUs", tool: warden, busy: true, send: steady(), goal: holds(flows).at(rate)},
			{name: "ctwarden that never samples: lines alone", tool: b.lines, send: steady()},
			{name: "ctwarden that samples every second, no lines", tool: b.secondly, send: steady()},
			{name: "swatchdog, a script per line", tool: swatchdog, send: steady()},
			{name: "rsyslog omprog, a script per line", tool: omprog, send: steady()},
		}},
		{"300,000 new UDP flows as fast as one sender on each CPU can", []row{
			{name: "no tool, all senders", tool: none, send: flatOut},
			{name: "ctwarden, all senders", tool: warden, send: flatOut, goal: holds(flows).at(expected)},
			{name: "ctwarden, all senders, `max_insert_rate: 300000`", tool: b.raised, send: flatOut,
				goal: holds(flows).at(expected)},
			{name: "ctwarden, all senders, at 200,000/s together", tool: warden, send: fromAll(expected), goal: holds(flows).at(expected)},
		}},
		{"Other shapes, ctwarden", b.shapes(warden)},
	}
}

// shapes are other loads than a steady one, and other packets.
func (b *bench) shapes(warden tool) []row {
	return []row{
		{name: "ramp from 0 to 100,000/s in 6 s", tool: warden, send: ramp(), goal: holds(flows).at(rate / 2)},
		{name: "bursts of 50 ms at 100,000/s, five a second, 5 s", tool: warden, send: bursts(), goal: holds(burstFlows).at(burstFlows / 5)},
		{name: "sawtooth from 89 to 91 % of the limit, a tooth a second, 8 s", tool: warden, before: limit * 89 / 100,
			send: sawtooth, goal: stands()},
		{name: "standing still at 91 %, 8 s", tool: warden, before: limit * 91 / 100, send: standing, goal: stands()},
		{name: "four namespaces at once, 25,000/s each, 3 s", tool: warden, spaces: 4,
			send: paced(testkernel.Traffic{Flows: flows / 4, Rate: rate / 4}), goal: holds(flows / 4).at(rate)},
		{name: "a namespace that was just made, 100,000/s, 3 s", tool: warden, born: true, send: steady(),
			goal: holds(flows).at(rate)},
		{name: "slow leak of 10/s from 60 below the limit, 12 s", tool: warden, before: limit - 60,
			send: leak(2 * 60), goal: holds(limit + 60)},
		{name: "TCP, first packets, 100,000/s, 3 s", tool: warden, send: full(testkernel.SYN), goal: holds(flows).at(rate)},
		{name: "TCP, connections in use, 33,000/s, 3 s", tool: warden,
			send: paced(testkernel.Traffic{Kind: testkernel.Established, Flows: flows / 3, Rate: rate / 3}),
			goal: holds(flows / 3).at(rate)},
		{name: "limit 65,536, 60,000 in use, 16,384 buckets, 100,000/s, 3 s", tool: warden,
			start: testkernel.Limits{Max: 65_536, Buckets: 16_384}, before: 60_000, send: steady(),
			goal: holdsFrom(65_536, 60_000+flows).sized().at(rate)},
		{name: "UDP over IPv6, 100,000/s, 3 s", tool: warden, send: full(testkernel.UDP6), goal: holds(flows).at(rate)},
		{name: "TCP over IPv6, 100,000/s, 3 s", tool: warden, send: full(testkernel.SYN6), goal: holds(flows).at(rate)},
	}
}
