package agent

import (
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestPromiseJunkOnTheSocket throws junk at the control socket and leaves connections half open: no order comes of it,
// and who has something to ask is answered.
func TestPromiseJunkOnTheSocket(t *testing.T) {
	path := filepath.Join(testhost.PublicDir(t), "control.sock")
	ctl := &fakeController{reply: Reply{Done: true}}
	serveControl(t, ControlConfig{Path: path, Controller: ctl})
	answers := func() bool {
		st, err := NewClient(path).Status(t.Context())
		return err == nil && st.Host == "web1"
	}
	half := 0
	for range 2 * maxConnections {
		conn, err := net.Dial("unix", path)
		if err != nil {
			continue // the queue is full for the moment
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST /v1/raise HTTP/1.1\r\nHost: agent\r\nContent-Length: 13\r\n\r\n{\"to\":1310"); err == nil {
			half++
		}
	}
	testhost.Eventually(t, "the socket answers after half-open connections", answers)
	junk := testhost.Amount(300, 20000)
	r := testhost.Rand(t)
	for range junk {
		sendJunk(path, r)
	}
	testhost.Eventually(t, "the socket answers after the junk", answers)
	if told := ctl.last(); told != (Command{}) {
		t.Errorf("the controller was told %+v", told)
	}
	testhost.Held(t, "7.6 junk on the socket", "%d connections with junk and %d left half open: 0 orders came of them, at most %d were open "+
		"at a time, and the status was answered", junk, half, maxConnections)
}

// sendJunk sends something that begins like a request, or like nothing at all, and waits for the answer.
func sendJunk(path string, r *rand.Rand) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return // the queue is full for the moment
	}
	defer conn.Close()
	heads := []string{"", "GET /v1/status HTTP/1.1\r\nHost: ", "POST /v1/raise HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST /v1/hold HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}
	body := make([]byte, r.IntN(8<<10))
	for i := range body {
		body[i] = byte(r.Uint32())
	}
	// Whether it is cut off in the middle does not matter.
	_, _ = io.WriteString(conn, heads[r.IntN(len(heads))])
	_, _ = conn.Write(body)
	_ = conn.(*net.UnixConn).CloseWrite()
	_, _ = conn.Read(make([]byte, 1)) // the server lingers behind the answer
}
