package hub

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

func TestGuardedPrefix(t *testing.T) {
	good := guardedSubject()
	for _, c := range []struct {
		name     string
		subjects []string
		want     bool
	}{
		{"new", []string{good}, true},
		{"as a library makes it", []string{"$KV.CTWARDEN_FLEET.>"}, false},
		{"a short word", []string{"$KV.CTWARDEN_FLEET.abc.>"}, false},
		{"two", []string{good, "$KV.CTWARDEN_FLEET.control"}, false},
		{"wide", []string{"$KV.CTWARDEN_FLEET.*.abcdefghijklmnopqrstuvwxyz234.>"}, false},
		{"none", nil, false},
	} {
		prefix, ok := guardedPrefix(c.subjects)
		if ok != c.want || ok && prefix+">" != c.subjects[0] {
			t.Errorf("%s: got %q, %v", c.name, prefix, ok)
		}
	}
	if good == guardedSubject() {
		t.Error("the word is always the same")
	}
}

// TestOpenBucketIsClosed: a hub does not trust a bucket whose subjects hosts know, and init closes it once and for all.
func TestOpenBucketIsClosed(t *testing.T) {
	_, nc, js := newLab(t)
	s, err := js.Stream(t.Context(), "KV_"+FleetBucket)
	if err != nil {
		t.Fatal(err)
	}
	open := s.CachedInfo().Config
	open.Subjects, open.AllowRollup = []string{"$KV.CTWARDEN_FLEET.>"}, true
	if _, err := js.UpdateStream(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "$KV.CTWARDEN_FLEET.control", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	h, err := New(Options{Conn: nc, Log: quiet(t), Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context()); !errors.Is(err, notify.ErrUnavailable) || !contains(err, "run ctwarden-hub init") {
		t.Errorf("got %v", err)
	}
	changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 64 << 20})
	if err != nil || len(changes) != 2 || !strings.Contains(changes[1], "removed 1 values of an older version") {
		t.Fatalf("got %q, %v", changes, err)
	}
	if s, err := js.Stream(t.Context(), "KV_"+FleetBucket); err != nil || s.CachedInfo().State.Msgs != 0 {
		t.Errorf("the bucket holds %+v, %v", s.CachedInfo().State, err)
	}
	prefix := prefixIn(t, js)
	if strings.Contains(changes[0], strings.TrimPrefix(prefix, bucketPrefix)) {
		t.Errorf("the word is told: %q", changes[0])
	}
	if changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 64 << 20}); err != nil || len(changes) != 0 || prefixIn(t, js) != prefix {
		t.Errorf("the second time: %q, %v", changes, err)
	}
}

// TestValueOfNoHub has somebody with an administrator's rights write where the hubs keep their orders and their lease: it is
// not obeyed, counted, and written over.
func TestValueOfNoHub(t *testing.T) {
	_, nc, js := newLab(t)
	h := startHub(t, "one", nc, Settings{})
	leads(t, h)
	if _, err := h.Do(t.Context(), web.Action{Verb: web.VerbHold, By: "ada", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	prefix := prefixIn(t, js)
	if _, err := js.Publish(t.Context(), prefix+"shard.00", []byte(`{"stream":"CTWARDEN","seq":1}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), prefix+leaseKey, []byte(`{"hub":"evil","id":"evil","term":9999}`)); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the hub has passed over both and leads again", func() bool {
		st := h.Status()
		return st.Leading && st.Foreign == 2 && st.Leader == "one"
	})
	testhost.Eventually(t, "both are written over", func() bool {
		return all(t, js, prefix, "shard.00", leaseKey, controlKey)
	})
	if holds := h.Status().Holds; len(holds) != 1 || holds[0].By != "ada" {
		t.Errorf("holds %+v", holds)
	}
}

// all tells whether every key has a value that a hub wrote.
func all(t *testing.T, js jetstream.JetStream, prefix string, keys ...string) bool {
	t.Helper()
	s, err := js.Stream(t.Context(), "KV_"+FleetBucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		m, err := s.GetLastMsgForSubject(t.Context(), prefix+key)
		if err != nil || m.Header.Get(writerHeader) == "" {
			return false
		}
	}
	return true
}

// TestOlderPictureIsTold has values in the bucket from before it was closed to hosts: they are not followed, which is said, and
// are no values that somebody forges now.
func TestOlderPictureIsTold(t *testing.T) {
	_, nc, js := newLab(t)
	s, err := js.Stream(t.Context(), "KV_"+FleetBucket)
	if err != nil {
		t.Fatal(err)
	}
	closed := s.CachedInfo().Config
	open := closed
	open.Subjects = []string{"$KV.CTWARDEN_FLEET.>"}
	if _, err := js.UpdateStream(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"control", "shard.00"} {
		if _, err := js.Publish(t.Context(), bucketPrefix+key, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.UpdateStream(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.InfoLevel)
	h := startHubWith(t, Options{Conn: nc, Name: "one", Version: "test", Log: zap.New(core)})
	leads(t, h)
	if told := logged.FilterMessage("older_picture_not_followed").All(); len(told) != 1 || told[0].ContextMap()["values"] != int64(2) {
		t.Errorf("told is %+v", told)
	}
	if st := h.Status(); st.Foreign != 0 {
		t.Errorf("%d values are called forged", st.Foreign)
	}
}
