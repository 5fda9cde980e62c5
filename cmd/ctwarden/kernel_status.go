package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
	"github.com/ctwarden/ctwarden/watcher"
)

// growthOver is the time between the two readings that growth is measured by.
const growthOver = 500 * time.Millisecond

// bucketBytes is what one bucket of the hash costs.
const bucketBytes = 8

// kernelStatus is the part of the status that needs no agent: what the kernel says. A table that is not there leaves
// its fields empty and is the error, beside the rest.
func kernelStatus(ctx context.Context, cfg Config) (agent.Status, error) {
	st := agent.Status{Version: versionString(), Site: cfg.Site, At: time.Now(), Sources: []agent.SourceStatus{},
		NetNS: []agent.NetNSStatus{}, Incidents: []remediate.Incident{}, Steps: []remediate.Step{}}
	var err error
	if st.Host, err = cfg.hostName(); err != nil {
		st.Notes = append(st.Notes, err.Error())
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		st.Kernel = strings.TrimSpace(string(release))
	}
	if st.BootID, err = watcher.BootID(); err != nil {
		st.Notes = append(st.Notes, err.Error())
	}
	if st.Held, err = cfg.holdPlaces().Held(st.At); err != nil {
		st.Notes = append(st.Notes, err.Error())
	}
	fleet, err := cfg.fleetHoldPlaces().Held(st.At)
	if err != nil {
		st.Notes = append(st.Notes, err.Error())
	}
	if fleet != nil {
		st.Fleet = &notify.FleetState{Hold: fleet}
	}
	counts, err := readTables(ctx, &st)
	st.Hash = hashStatus(cfg.policy(), st, remediate.KernelChains(st.Kernel).Counted(counts))
	return st, err
}

// hashStatus says how the hash stands to the ceiling, as far as that is known without an agent.
func hashStatus(p remediate.Policy, st agent.Status, chains remediate.Chains) *agent.HashStatus {
	if st.Limits.Buckets == 0 {
		return nil
	}
	s := remediate.Situation{Now: st.At, Limits: st.Limits, Memory: st.Memory.Memory, Chains: chains, Held: st.Held}
	if s.Held == nil && st.Fleet != nil {
		s.Held = st.Fleet.Hold
	}
	for _, ns := range st.NetNS {
		s.Entries, s.Fullest = s.Entries+ns.Count, max(s.Fullest, ns.Count)
		if !ns.Init {
			s.OtherPeaks = append(s.OtherPeaks, ns.Count)
		}
	}
	h := agent.HashStatusOf(remediate.Presize(p, s), remediate.StallPerEntry)
	h.AtLeast = true // those of namespaces that cannot be seen are counted where a resize is considered
	return &h
}

// readTables fills in the limits, the namespaces and the cost, and tells whether the kernel counts what long hash
// chains refuse.
func readTables(ctx context.Context, st *agent.Status) (counts bool, err error) {
	table, err := conntrack.Open("/", time.Now)
	if err != nil {
		return false, err
	}
	defer table.Close()
	if st.Limits, err = table.Limits(); err != nil {
		return false, err
	}
	spaces, err := table.Discover()
	if err != nil {
		st.Notes = append(st.Notes, fmt.Sprintf("namespaces: %v", err))
		spaces = []remediate.NetNS{table.Own()}
	}
	first := readEach(table, spaces)
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(growthOver):
	}
	var entries uint64
	var peaks []uint64
	for inode, now := range readEach(table, spaces) {
		st.NetNS = append(st.NetNS, spaceStatus(first[inode], now))
		entries += now.Count
		if !now.NetNS.Init {
			peaks = append(peaks, now.Count)
		}
	}
	slices.SortFunc(st.NetNS, busiest)
	st.NetNSTotal = len(st.NetNS)
	memory, err := table.Memory()
	hash := st.Limits.Buckets * bucketBytes
	st.Memory = agent.MemoryStatus{Memory: memory, TableBytes: entries*memory.EntryBytes + hash,
		WorstBytes: remediate.WorstEntries(st.Limits.Max, peaks)*memory.EntryBytes + hash}
	return table.CountsChains(), err
}

// readEach reads the namespaces that are still there.
func readEach(table *conntrack.Table, spaces []remediate.NetNS) map[uint64]remediate.Reading {
	out := map[uint64]remediate.Reading{}
	for _, ns := range spaces {
		if r, err := table.Read(ns.Inode, true); err == nil {
			out[ns.Inode] = r
		}
	}
	return out
}

func spaceStatus(first, now remediate.Reading) agent.NetNSStatus {
	s := agent.NetNSStatus{NetNS: now.NetNS, Count: now.Count, Peak: max(first.Count, now.Count), Counters: now.Counters, Blind: now.Blind}
	grown, took := float64(now.Count)-float64(first.Count), now.At.Sub(first.At).Seconds()
	if first.At.IsZero() || grown <= 0 || took <= 0 {
		return s
	}
	s.InsertRate = grown / took
	left := float64(now.Free()) / s.InsertRate
	s.TimeToFull = &left
	return s
}

func busiest(x, y agent.NetNSStatus) int {
	switch {
	case x.Init && !y.Init:
		return -1
	case y.Init && !x.Init:
		return 1
	case x.Count != y.Count && x.Count > y.Count:
		return -1
	case x.Count != y.Count:
		return 1
	}
	return strings.Compare(x.Name, y.Name)
}

// notThere tells whether there is no table to speak of on this host.
func notThere(err error) bool {
	return errors.Is(err, conntrack.ErrNotLoaded) || errors.Is(err, conntrack.ErrTooOld)
}
