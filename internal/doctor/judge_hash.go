package doctor

import (
	"fmt"

	"github.com/ctwarden/ctwarden/remediate/apply"
)

// wasteBytes is how much memory a hash must waste to be worth a word.
const wasteBytes = 16 << 20

// bucketBytes is what one bucket costs.
const bucketBytes = 8

// hash compares the limit with the buckets, now and after the next boot.
func (j *judge) hash() {
	now := j.f.Table && j.Limit > j.f.Chains.Entries()*j.Buckets
	later := j.AtBoot.Max > 0 && j.AtBoot.Buckets > 0 && j.AtBoot.Max > j.f.Chains.Entries()*j.AtBoot.Buckets
	switch {
	case now && later:
		j.chain("now and after the next boot", j.Limit, j.Buckets)
	case now:
		j.chain("now", j.Limit, j.Buckets)
	case later:
		j.chain("after the next boot", j.AtBoot.Max, j.AtBoot.Buckets)
	}
	j.waste()
}

// chain tells of too few buckets for a limit.
func (j *judge) chain(when string, limit, buckets uint64) {
	f := Finding{
		ID: IDChain, Severity: Advice,
		What: fmt.Sprintf("%d buckets for a limit of %d, %s: %.0f entries a bucket, more than %d", buckets, limit, when,
			float64(limit)/float64(max(buckets, 1)), j.f.Chains.Entries()),
		Why: "long chains cost time with every packet",
	}
	if j.f.Chains.Limited() {
		f.Severity = Problem
		f.Why = "Linux 5.15 and later refuses connections on long chains before the limit is reached, without a message"
	}
	n := j.f.Chains.PresizedBuckets(limit)
	set := fmt.Sprintf("%s = %d", apply.KeyBuckets, n)
	f.Fix = fmt.Sprintf("sysctl -w %s=%d    # stalls packets for a moment: choose a quiet one\necho '%s' >> /etc/sysctl.d/99-zzz-conntrack.conf", apply.KeyBuckets, n, set)
	if by := j.own().BucketsBy; by != "" && j.own().Buckets < n {
		f.Where = by
		f.Fix = fmt.Sprintf("sysctl -w %s=%d    # stalls packets for a moment: choose a quiet one\nin %s write %s", apply.KeyBuckets, n, by, set)
	}
	j.add(f)
}

// waste tells of far more buckets than the limit, or the ceiling, will ever need.
func (j *judge) waste() {
	need := max(j.Limit, j.f.Chains.PresizedBuckets(j.f.Policy.Ceiling))
	if !j.f.Table || j.Limit == 0 || j.Buckets <= need || (j.Buckets-need)*bucketBytes < wasteBytes {
		return
	}
	j.add(Finding{
		ID: IDWaste, Severity: Advice, Where: j.own().BucketsBy,
		What: fmt.Sprintf("%d buckets for a limit of %d", j.Buckets, j.Limit),
		Why:  fmt.Sprintf("%d MiB of memory that cannot be swapped serve nothing", (j.Buckets-need)*bucketBytes>>20),
		Fix:  fmt.Sprintf("sysctl -w %s=%d    # or raise the limit", apply.KeyBuckets, need),
	})
}
