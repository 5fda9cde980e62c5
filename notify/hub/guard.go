package hub

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
)

// A host that publishes an event names the subject to which the server sends the acknowledgement, and no permission is
// asked for that: the server is the one who publishes. So a host that was taken over could have its acknowledgements lie in
// the place of the fleet's orders, and each of them would shut the leader out. Therefore:
//
//   - the bucket's subjects have a word in them that [Setup] draws, and that only those can read who may look at the bucket:
//     hubs and administrators. A message to $KV.CTWARDEN_FLEET.control arrives nowhere;
//   - every value has the header of the hub that wrote it. One without is passed over, told of, and written over;
//   - no host may roll a bucket up, which would empty it.
//
// An acknowledgement to another host's state, event or order remains possible. It is no document of any of these, and is
// passed over by who reads it; but it takes the place of that host's state until its next one, so that a flood of them can
// make a host look silent or fill the bucket. And a server whose JetStream API is not strict about JSON would take one for
// an order to delete a message, which all streams deny, or to purge, which the streams but the fleet's own deny; [Warnings]
// tells of such a server. An account of their own for the hosts closes that too.

const (
	// bucketPrefix precedes everything in the bucket, and allKeys ends the subject of its stream.
	bucketPrefix = "$KV." + FleetBucket + "."
	allKeys      = ".>"
	// minWord is the least length of the word that hosts do not know.
	minWord = 26
)

// guardedSubject is a new subject for the bucket's stream.
func guardedSubject() string { return bucketPrefix + strings.ToLower(rand.Text()) + allKeys }

// guardedPrefix is what precedes a key, by the subjects of the bucket's stream; false where hosts could guess it.
func guardedPrefix(subjects []string) (string, bool) {
	if len(subjects) != 1 {
		return "", false
	}
	word, ok := strings.CutPrefix(subjects[0], bucketPrefix)
	if !ok {
		return "", false
	}
	word, ok = strings.CutSuffix(word, allKeys)
	if !ok || len(word) < minWord || strings.ContainsAny(word, ".*>") {
		return "", false
	}
	return bucketPrefix + word + ".", true
}

// prefixOf is guardedPrefix of the stream, or what to do.
func prefixOf(s jetstream.Stream) (string, error) {
	prefix, ok := guardedPrefix(s.CachedInfo().Config.Subjects)
	if !ok {
		return "", fmt.Errorf("%w: hosts could write to the bucket %s; run ctwarden-hub init --server URL, which closes it",
			notify.ErrUnavailable, FleetBucket)
	}
	return prefix, nil
}

// passOver counts and tells of a value that no hub wrote. The leader writes over it. What lies beside the prefix is from before
// the bucket was closed to hosts. The caller holds mu.
func (h *Hub) passOver(p *picture, s saved) {
	if s.key == "" {
		p.older++
		return
	}
	h.tally.foreign++
	if s.key != leaseKey {
		p.foreign[s.key] = true
	}
	if h.tally.foreign <= maxTold {
		h.o.Log.Error("value_of_no_hub", zap.String("bucket", FleetBucket), zap.String("key", s.key), zap.String("meaning", "it was not written by a hub, and is not followed"))
	}
}

// maxTold is how many values of no hub are logged; all are counted.
const maxTold = 20
