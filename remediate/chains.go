package remediate

import "fmt"

// Chains says at what length of a hash chain the kernel refuses an insert. Each connection is hashed twice, so a chain
// has at the mean twice as many links as there are entries to a bucket.
type Chains int

// The kernels' ways with long chains. An unknown one counts as [ChainsShort], the careful side.
const (
	// ChainsFree is Linux before 5.15: no length is refused, long chains only cost time.
	ChainsFree Chains = iota
	// ChainsShort is Linux 5.15 to 6.2: the length is drawn anew between 8 and 32 again and again. Of random inserts 5 in
	// a million are refused at one entry a bucket, one in a thousand at two, two in five at eight. Stable releases of 2023
	// have the limit of 6.3, which their version does not tell.
	ChainsShort
	// ChainsLong is Linux 6.3 and later: 50 to 80 (c77737b736ce, "netfilter: conntrack: adopt safer max chain length").
	ChainsLong
)

// KernelChains tells it by the kernel's release.
func KernelChains(release string) Chains {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return ChainsShort
	}
	switch {
	case major > 6 || major == 6 && minor >= 3:
		return ChainsLong
	case major == 6 || major == 5 && minor >= 15:
		return ChainsShort
	}
	return ChainsFree
}

// Counted takes what the kernel itself shows: one that counts what long chains refuse has a limit on them, whatever its
// version says. RHEL 9 is 5.14 with much of later versions.
func (c Chains) Counted(counts bool) Chains {
	if counts && c == ChainsFree {
		return ChainsShort
	}
	return c
}

// Limited tells whether an insert is refused on a long chain at all.
func (c Chains) Limited() bool { return c != ChainsFree }

// Entries is how many entries a bucket may carry on average. Where no chain is refused, it is what is still fast.
func (c Chains) Entries() uint64 {
	if c == ChainsShort {
		return 2
	}
	return 8
}

// PresizedBuckets is the hash size that serves a limit well, as a multiple of what the kernel rounds to: one bucket for
// four entries, which was the kernel's own ratio until 5.14 and is kube-proxy's, or one for each where chains must be
// short.
func (c Chains) PresizedBuckets(limit uint64) uint64 {
	per := uint64(4 * bucketMultiple)
	if c == ChainsShort {
		per = bucketMultiple
	}
	return (min(limit, MaxLimit) + per - 1) / per * bucketMultiple
}

// keepText says what follows for the limit from a hash that is not to be touched.
func (c Chains) keepText() string {
	if !c.Limited() {
		return "the limit does not depend on it, since this kernel refuses nothing on long hash chains"
	}
	return fmt.Sprintf("ctwarden raises the limit to %d entries a bucket at most", c.Entries())
}
